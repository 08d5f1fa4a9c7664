"""Seeded campaigns against runs on a Ray cluster of three nodes in one machine: what is killed and when follows from
the seed, and the run must end with the digest and the tables of one that nobody disturbed.

    python tools/chaos.py --campaigns 100 --out runs/chaos

A campaign is one ``raysplit run --address``, as a user starts it, and one to three faults at moments of its rounds:
a host, main server or column shard killed (SIGKILL), a host halted for good (SIGSTOP), a node's raylet killed (another
node joins), the driver killed or asked to stop (then ``raysplit resume``). Every campaign is a line of
``campaigns.jsonl``; those that are there already are not repeated. The end states how many gave the fault-free bits, left
a process or a table behind, and the median of the time lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos_cluster import ACTORS, SmallCluster, alive, gone_within, raylet, small_cluster
from rich.console import Console

import raysplit
from raysplit.engine.ray.own_cluster import OTHER_NODES
from raysplit.storage.schemas import SCHEMAS, deterministic_columns

ROUNDS = 8
SCENARIOS = f'''
"""What tools/chaos.py disturbs: rounds of about a second, one scenario for each way in which actors work together."""

from raysplit import (
    Adam, AgrTailored, Cohort, Evaluation, FedAvg, Median, Observe, Scenario, SplitFedV1, SplitFedV2, Training,
    femnist_cnn, grid, synthetic_writers,
)

base = Scenario(
    name="chaos",
    population=synthetic_writers(writers=60, mean_samples=40, sd_samples=8),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV1(),
    cohort=Cohort(size=12, malicious=0.25, of="cohort"),
    training=Training(rounds={ROUNDS}, lr=0.01, batch_size=20, optimizer=Adam(), client_state="per_client"),
    attack=AgrTailored(),
    defense=Median(),
    evaluation=Evaluation(every=2, clients=60),
    checkpoint_every=1,
)
scenarios = [
    base.replace(name="colocated"),
    base.replace(name="pooled", protocol=SplitFedV2(), observe=Observe((2, 5), ("smashed",), max_samples=4)),
    base.replace(name="sharded", protocol=FedAvg()),
]
'''
LAYOUTS = {
    "colocated": ["--placement", "colocated", "--hosts", "3"],
    "pooled": ["--placement", "pooled", "--hosts", "2", "--servers", "1"],
    "sharded": ["--hosts", "2", "--shards", "2"],
}
FAULTS = {
    "colocated": ("kill host", "kill raylet", "stop host", "kill driver", "end driver"),
    "pooled": ("kill host", "kill server", "kill raylet", "stop host", "kill driver", "end driver"),
    "sharded": ("kill host", "kill shard", "kill raylet", "kill driver", "end driver"),
}
DEADLINE_S = 8.0
DRIVER = [sys.executable, "-m", "raysplit.app.cli"]
ON_LOOPBACK = os.environ | {OTHER_NODES: "0"}
"""Of drivers: Ray would look for a cluster on the loopback interface at this machine's other address."""
PATIENCE_S = 600.0
"""After which a campaign counts as hung."""


@dataclass(frozen=True)
class Fault:
    """``kind`` (``FAULTS``), ``after`` the report of a round and ``delay`` seconds more; ``pick`` chooses the victim."""

    kind: str
    after: int
    delay: float
    pick: float


@dataclass
class Campaign:
    """What was done to one run, and what came of it."""

    seed: int
    scenario: str
    faults: list[Fault]
    struck: int = 0
    drivers: int = 1
    digest: str = ""
    same_digest: bool = False
    same_tables: bool = False
    left: int = 0
    seconds: float = 0.0
    retries: int = 0
    failure: str = ""
    log: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.same_digest and self.same_tables and not self.left and not self.failure


def campaign_of(seed: int) -> Campaign:
    """The campaign of a seed: scenarios in turn, one to three faults, all in rounds that are followed by others."""
    rng = random.Random(f"chaos {seed}")
    scenario = list(LAYOUTS)[seed % len(LAYOUTS)]
    faults = [
        Fault(rng.choice(FAULTS[scenario]), rng.randint(1, ROUNDS - 2), round(rng.uniform(0, 1.0), 2), rng.random())
        for _ in range(rng.randint(1, 3))
    ]
    return Campaign(seed, scenario, sorted(faults, key=lambda fault: (fault.after, fault.delay)))


class Driver:
    """One ``raysplit`` process on the cluster, whose JSON lines are followed."""

    def __init__(self, command: list[str], log: Path, reached: Callable[[int], None]) -> None:
        with open(log, "a") as errors:
            self.process = subprocess.Popen(
                [*DRIVER, *command], stdout=subprocess.PIPE, stderr=errors, text=True, env=ON_LOOPBACK
            )
        self.folder: Path | None = None
        self.strange: list[str] = []
        self._reached = reached

    def follow(self) -> int:
        """Until it has ended; its exit code."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.startswith("{"):  # of Ray's own, below Python
                self.strange.append(line.strip())
                continue
            event = json.loads(line)
            if event["event"] == "begin":
                self.folder = Path(event["run"])
                self._reached(event["rounds_done"])
            elif event["event"] == "round":
                self._reached(event["round"])
        return self.process.wait()


class Striker:
    """Carries out a campaign's faults when their rounds are over, each once."""

    def __init__(self, campaign: Campaign, cluster: SmallCluster) -> None:
        self._campaign, self._cluster = campaign, cluster
        self._due = list(campaign.faults)
        self._lock = threading.Lock()
        self.driver: Driver | None = None
        self.halted: list[int] = []

    def reached(self, round: int) -> None:
        with self._lock:
            now = [fault for fault in self._due if fault.after <= round]
            self._due = self._due[len(now) :]
        for fault in now:
            threading.Timer(fault.delay, self._strike, (fault,)).start()

    def _strike(self, fault: Fault) -> None:
        verb, whom = fault.kind.split()
        if whom == "driver":
            victims = [self.driver.process.pid] if self.driver is not None else []
        elif whom == "raylet":
            victims = [raylet(node) for node in self._cluster.nodes]
        else:
            victims = self._cluster.processes(whom)
        victims = [pid for pid in victims if alive(pid)]
        if not victims:
            self._campaign.log.append(f"{fault.kind}: nobody there")
            return
        victim = victims[int(fault.pick * len(victims))]
        blow = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "end": signal.SIGTERM}[verb]
        try:
            os.kill(victim, blow)
        except ProcessLookupError:
            return
        self._campaign.struck += 1
        if verb == "stop":
            self.halted.append(victim)
        if whom == "raylet":
            self._cluster.replace_dead()


def play(campaign: Campaign, cluster: SmallCluster, file: Path, out: Path, references: dict[str, Path]) -> None:
    """Run a campaign and compare what it left with the fault-free run."""
    out.mkdir(parents=True)
    striker = Striker(campaign, cluster)
    layout = [*LAYOUTS[campaign.scenario], "--address", cluster.address, "--deadline", str(DEADLINE_S), "--json"]
    command = ["run", str(file), "--only", campaign.scenario, "--out", str(out), *layout]
    began = time.monotonic()
    while True:
        striker.driver = Driver(command, out / "driver.log", striker.reached)
        guard = threading.Timer(PATIENCE_S, striker.driver.process.kill)
        guard.start()
        code = striker.driver.follow()
        guard.cancel()
        campaign.log += [f"on standard output: {line:.120}" for line in striker.driver.strange]
        if code == 0:
            break
        folder = striker.driver.folder or next((path.parent for path in out.glob("*/run.json")), None)
        if code not in (-signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGTERM, 130) or campaign.drivers > 6:
            campaign.failure = f"exit code {code}: {(out / 'driver.log').read_text()[-300:]}"
            break
        campaign.drivers += 1
        command = ["resume", str(folder), *layout] if folder is not None and _begun(folder) else command
    campaign.seconds = time.monotonic() - began
    remaining = [pid for kind in ACTORS for pid in cluster.processes(kind)]
    for pid in (left := gone_within(remaining, 30)):
        os.kill(pid, signal.SIGKILL)
    campaign.left = len(left)
    cluster.replace_dead()
    if not campaign.failure:
        compare(campaign, next(path.parent for path in out.glob("*/run.json")), references[campaign.scenario])


def _begun(folder: Path) -> bool:
    return any(folder.glob("checkpoints/round-*/state.json"))


def compare(campaign: Campaign, folder: Path, reference: Path) -> None:
    """Digest, and all columns of all tables on which two runs of a scenario must agree; observations byte by byte."""
    played, expected = raysplit.open_run(folder), raysplit.open_run(reference)
    campaign.digest = played.state.digest or ""
    campaign.same_digest = bool(played.state.digest) and played.state.digest == expected.state.digest
    different = []
    for name in SCHEMAS:
        found, right = getattr(played, name), getattr(expected, name)
        columns = deterministic_columns(right.schema)
        if not found.select(columns).equals(right.select(columns)):
            different.append(name)
    for file in sorted((reference / "observations").glob("*.arrow")):
        twin = folder / "observations" / file.name
        if not twin.exists() or twin.read_bytes() != file.read_bytes():
            different.append(f"observations/{file.name}")
    campaign.same_tables = not different
    campaign.log += [f"differs: {name}" for name in different]
    campaign.retries = sum(played.rounds.column("retries").to_pylist())


def undisturbed(file: Path, out: Path, cluster: SmallCluster) -> tuple[dict[str, Path], dict[str, float]]:
    """Each scenario on the local engine, whose bits are the reference, and on the cluster, whose time is."""
    references, seconds = {}, {}
    for name, layout in LAYOUTS.items():
        folder = out / "reference"
        if not list(folder.glob(f"{name}-*/run.json")):
            command = ["run", str(file), "--only", name, "--out", str(folder), "--engine", "local", "--json"]
            subprocess.run([*DRIVER, *command], check=True, capture_output=True, env=ON_LOOPBACK)
        references[name] = next(path.parent for path in folder.glob(f"{name}-*/run.json"))
        taken = []
        for _ in range(3):
            shutil.rmtree(out / "quiet", ignore_errors=True)
            began = time.monotonic()
            command = ["run", str(file), "--only", name, "--out", str(out / "quiet"), *layout]
            command += ["--address", cluster.address, "--json"]
            subprocess.run([*DRIVER, *command], check=True, capture_output=True, env=ON_LOOPBACK)
            taken.append(time.monotonic() - began)
        seconds[name] = statistics.median(taken)
    return references, seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--campaigns", type=int, default=10)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--out", type=Path, default=Path("runs/chaos"))
    chosen = options.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    file, lines, console = chosen.out / "chaos_scenarios.py", chosen.out / "campaigns.jsonl", Console(soft_wrap=True)
    file.write_text(SCENARIOS)
    done: dict[int, dict[str, Any]] = {}
    if lines.exists():
        done = {line["seed"]: line for line in map(json.loads, lines.read_text().splitlines())}
    with small_cluster() as cluster:
        references, quiet = undisturbed(file, chosen.out, cluster)
        console.print("fault-free, median of 3:", {name: round(taken, 1) for name, taken in quiet.items()})
        for seed in range(chosen.first, chosen.first + chosen.campaigns):
            if seed in done:
                continue
            campaign = campaign_of(seed)
            folder = chosen.out / f"campaign-{seed:03d}"
            shutil.rmtree(folder, ignore_errors=True)
            play(campaign, cluster, file, folder, references)
            done[seed] = asdict(campaign) | {
                "sound": campaign.sound,
                "lost": campaign.seconds - quiet[campaign.scenario],
            }
            with open(lines, "a") as log:
                log.write(json.dumps(done[seed]) + "\n")
            kinds = ", ".join(fault.kind for fault in campaign.faults)
            verdict = "sound" if campaign.sound else f"NOT SOUND {campaign.failure} {campaign.log}"
            console.print(
                f"{seed:4d} {campaign.scenario:10s} {kinds}: {done[seed]['lost']:+.1f} s, {verdict}", markup=False
            )
            if campaign.sound:
                shutil.rmtree(folder)
    chosen_seeds = [done[seed] for seed in range(chosen.first, chosen.first + chosen.campaigns)]
    console.print(summary(chosen_seeds), markup=False)
    sys.exit(0 if all(line["sound"] for line in chosen_seeds) else 1)


def summary(campaigns: list[dict[str, Any]]) -> str:
    lost = sorted(line["lost"] for line in campaigns)
    kinds: dict[str, int] = {}
    for line in campaigns:
        for fault in line["faults"]:
            kinds[fault["kind"]] = kinds.get(fault["kind"], 0) + 1
    return (
        f"{len(campaigns)} campaigns, {sum(line['struck'] for line in campaigns)} faults struck ({kinds}): "
        f"{sum(line['sound'] for line in campaigns)} sound; same digest {sum(line['same_digest'] for line in campaigns)}, "
        f"same tables {sum(line['same_tables'] for line in campaigns)}, processes left "
        f"{sum(line['left'] for line in campaigns)}; time lost: median {statistics.median(lost):.1f} s, "
        f"worst {lost[-1]:.1f} s"
    )


if __name__ == "__main__":
    main()
