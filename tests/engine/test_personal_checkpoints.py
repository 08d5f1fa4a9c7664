"""Checkpoints of clients' own portions: every bit back, resumed as if never stopped, damage told."""

import json

import pytest

from raysplit.errors import RunError
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.cycle_sl import CyclePsl
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import newest_checkpoint, read_checkpoint, write_checkpoint
from raysplit.training.optimizers import Adam
from tests.toys import play, toy

PERSONAL = [SplitFedV3(), ParallelSl(), ParallelSl("client_major", u_shaped=True), Sglr(), CyclePsl(2, 5)]


def scenario_of(protocol, rounds=5):
    tail = "fc1" if protocol.u_shaped else None
    changes = {"cohort": Cohort(3), "training__rounds": rounds, "training__optimizer": Adam(), "checkpoint_every": 1}
    return toy(protocol, "V1", tail, clients=7, **changes)


@pytest.mark.parametrize("protocol", PERSONAL, ids=repr)
def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(tmp_path, protocol):
    scenario = scenario_of(protocol)
    straight = play(scenario)
    play(scenario_of(protocol, rounds=2), folder=tmp_path)
    checkpoint = tmp_path / "checkpoints" / "round-000002"
    state = read_checkpoint(checkpoint, Layout(scenario), scenario_of(protocol, rounds=2).hash)
    resumed = play(scenario, start=state)
    before, after = set(state.client_portions), set(resumed.state.client_portions)
    assert before < after and len(before) >= 3
    assert resumed.digest == straight.digest
    assert resumed.state.client_portions.keys() == straight.state.client_portions.keys()
    rows = straight.tables["evaluations"].to_pylist()
    assert resumed.tables["evaluations"].to_pylist() == [row for row in rows if row["round"] > 2]


def test_a_checkpoint_gives_back_every_portion_in_a_file_of_its_own(tmp_path):
    scenario = scenario_of(SplitFedV3())
    played = play(scenario)
    path = write_checkpoint(tmp_path, played.state, played.layout, scenario.hash)
    read = read_checkpoint(path, Layout(scenario), scenario.hash)
    assert read.client_portions.keys() == played.state.client_portions.keys()
    assert all(read.client_portions[c].equal(p) for c, p in played.state.client_portions.items())
    record = json.loads((path / "state.json").read_text())
    assert record["format"] == 3 and set(record["sha256"]) == {
        "clients.safetensors",
        "model.safetensors",
        "memory.safetensors",
    }
    assert Layout(scenario).digest(read) == record["digest"] == played.digest


def test_who_keeps_no_portion_writes_no_file_of_portions(tmp_path):
    play(toy(SplitFedV2()), folder=tmp_path)
    path = newest_checkpoint(tmp_path / "checkpoints")
    assert json.loads((path / "state.json").read_text())["format"] == 3
    assert not (path / "clients.safetensors").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_file_of_portions_is_told(tmp_path, damage):
    scenario = scenario_of(ParallelSl(), rounds=1)
    played = play(scenario)
    path = write_checkpoint(tmp_path, played.state, played.layout, scenario.hash)
    file = path / "clients.safetensors"
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-3] if damage == "cut" else data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    with pytest.raises(RunError, match="is damaged"):
        read_checkpoint(path, Layout(scenario), scenario.hash)
