"""What a machine or a cluster has to offer, and how scenarios would lie on it: the work behind ``raysplit doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from raysplit.analysis.report.terminal import print_whole
from raysplit.app.running.engine_choice import EngineChoice, check_choice
from raysplit.engine.placement import Layout as ActorLayout
from raysplit.engine.placement import Placement, Wanted, lay_out
from raysplit.engine.ray.cluster import connect
from raysplit.errors import counted
from raysplit.population.opening import open_population
from raysplit.scenario.file import load_scenarios
from raysplit.scenario.layout import Layout
from raysplit.scenario.malicious_check import check_malicious
from raysplit.scenario.population_check import check_population
from raysplit.scenario.scenario import Scenario

WantedOptions = tuple[int | None, int | None, Placement, float | None]


def examine(file: Path | None, address: str | None, wanted: WantedOptions, console: Console) -> None:
    """Print what the cluster has and, for a scenario file, how each scenario would be placed on it."""
    import torch

    scenarios = load_scenarios(file)[0] if file is not None else []
    check_choice(EngineChoice("ray", *wanted, address))
    with connect(address, 1 << 28) as have:
        table = Table("", "here", title="Cluster", title_justify="left")
        table.add_row("nodes", str(have.nodes))
        table.add_row("CPUs", str(have.cpus))
        table.add_row("GPUs", f"{have.gpus:g}")
        table.add_row("memory", f"{_memory() / 2**30:.1f} GiB on this node")
        table.add_row("torch", f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()})")
        console.print(table)
        found = [(scenario, lay_out(scenario, have, Wanted(*wanted))) for scenario in scenarios]
        if len(found) == 1:
            console.print(_one(*found[0]))
        elif found:
            _many(found, console)


def _one(scenario: Scenario, actors: ActorLayout) -> Table:
    lies = _lay(scenario)
    servers = f", {counted(actors.servers, 'main server')}" if actors.servers else ""
    table = Table("", "", title=f"{scenario.name} ({scenario.hash})", title_justify="left", show_header=False)
    table.add_row("population", f"{lies.population}; cohort {scenario.cohort.size}")
    table.add_row("client portion", f"{lies.client:,} parameters ({lies.share:.1f} % of the model)")
    table.add_row("server portion", f"{lies.server:,} parameters, {scenario.protocol.server}")
    table.add_row("client groups", str(scenario.group_count))
    table.add_row("actors", f"{counted(actors.hosts, 'client host')}{servers}; {actors.placement} ({actors.why})")
    table.add_row("GPU a host", f"{actors.gpus_per_host:g}" if actors.gpus_per_host else "none")
    table.add_row("gathered updates", f"up to {lies.gathered:.1f} MiB a round")
    return table


def _many(found: list[tuple[Scenario, ActorLayout]], console: Console) -> None:
    """One table over all scenarios of a file, a line each; what all have in common is said once, above it."""
    rows = [_figures(scenario, actors) for scenario, actors in found]
    varied = [name for name in rows[0] if len({row[name] for row in rows}) > 1]
    common = [f"{' '.join(name.split())} {text}" for name, text in rows[0].items() if name not in varied]
    console.print(f"All {len(found)} scenarios: {'; '.join(common)}", markup=False, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("scenario", no_wrap=True)
    for name in varied:
        table.add_column(name, no_wrap=True, justify="left" if name in ("population", "placement") else "right")
    for (scenario, _), row in zip(found, rows, strict=True):
        table.add_row(scenario.name, *(row[name] for name in varied))
    print_whole(table, console)
    reasons: dict[str, int] = {}
    for _, actors in found:
        reason = f"{actors.placement}: {actors.why}"
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, number in reasons.items():
        console.print(f"{reason} ({counted(number, 'scenario')})", markup=False, highlight=False)


def _figures(scenario: Scenario, actors: ActorLayout) -> dict[str, str]:
    lies = _lay(scenario)
    return {
        "population": lies.population,
        "cohort": str(scenario.cohort.size),
        "client's\nparameters": f"{lies.client:,}",
        "share\n%": f"{lies.share:.1f}",
        "server's\nparameters": f"{lies.server:,}",
        "client\ngroups": str(scenario.group_count),
        "client\nhosts": str(actors.hosts),
        "main\nservers": str(actors.servers),
        "placement": actors.placement,
        "GPU\na host": f"{actors.gpus_per_host:g}",
        "updates\nMiB": f"{lies.gathered:.1f}",
    }


@dataclass(frozen=True)
class _Lies:
    """How a scenario lies in memory. Parameters; ``share``: the client's, in %; ``gathered``: updates in MiB a
    round."""

    population: str
    client: int
    server: int
    share: float
    gathered: float


def _lay(scenario: Scenario) -> _Lies:
    opened = open_population(scenario.population)
    info = opened.info
    check_population(scenario, info)
    check_malicious(scenario, opened)
    portions = Layout(scenario)
    client, server = portions.client.vector.numel(), portions.server.vector.numel()
    gathered = scenario.cohort.size * client * portions.client.vector.element_size() / 2**20
    population = f"{info.name}{', synthetic' if info.synthetic else ''}: {counted(info.clients, 'client')}"
    return _Lies(population, client, server, 100 * client / (client + server), gathered)


def _memory() -> int:
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
