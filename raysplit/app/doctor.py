"""What a machine, a cluster and a population have to offer: the work behind ``raysplit doctor`` and ``raysplit
data``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from raysplit.app.running.engine_choice import EngineChoice, check_choice
from raysplit.engine.placement import Placement, Wanted, lay_out
from raysplit.engine.ray.cluster import connect
from raysplit.population.arrow import ArrowFile
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
        for scenario in scenarios:
            _lay_out(scenario, lay_out(scenario, have, Wanted(*wanted)), console)


def _lay_out(scenario: Scenario, layout: object, console: Console) -> None:
    from raysplit.engine.placement import Layout as ActorLayout

    assert isinstance(layout, ActorLayout)
    population = open_population(scenario.population)
    check_population(scenario, population.info)
    check_malicious(scenario, population)
    portions = Layout(scenario)
    client, server = portions.client.vector.numel(), portions.server.vector.numel()
    width = portions.client.vector.element_size()
    table = Table("", "", title=f"{scenario.name} ({scenario.hash})", title_justify="left", show_header=False)
    synthetic = ", synthetic" if population.info.synthetic else ""
    table.add_row(
        "population",
        f"{population.info.name}{synthetic}: {population.info.clients:,} clients, cohort {scenario.cohort.size}",
    )
    table.add_row("client portion", f"{client:,} parameters ({100 * client / (client + server):.1f} % of the model)")
    table.add_row("server portion", f"{server:,} parameters, {scenario.protocol.server}")
    table.add_row("client groups", str(scenario.group_count))
    table.add_row(
        "actors", f"{layout.hosts} client hosts, {layout.servers} main servers; {layout.placement} ({layout.why})"
    )
    table.add_row("GPU a host", f"{layout.gpus_per_host:g}" if layout.gpus_per_host else "none")
    table.add_row("gathered updates", f"up to {scenario.cohort.size * client * width / 2**20:.1f} MiB a round")
    console.print(table)


def prepare(
    name: str,
    source: Path | None,
    out: Path | None,
    mirror: str | None,
    console: Console,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Prepare a data set by name, with the options that were given. Raises ``PopulationError`` for wrong ones."""
    from data_prep.catalogue import prepare as prepare_by_name

    prepare_by_name(name, source, out, mirror, console, options)


def describe(path: Path, console: Console) -> None:
    """Print what a population file, or the one prepared under that name, holds, after checking every byte of it."""
    from data_prep.catalogue import find
    from data_prep.femnist import describe as femnist_summary
    from data_prep.prepared import describe as summary

    path = find(path)
    of = femnist_summary if ArrowFile(str(path)).open().info.name == "femnist" else summary
    console.print(str(of(path)), markup=False, highlight=False, soft_wrap=True)


def _memory() -> int:
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
