import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.errors import RunError
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import by_client
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import newest_checkpoint, read_checkpoint, write_checkpoint
from raysplit.training.optimizers import Adam
from raysplit.training.settings import FedOpt
from tests.toys import ToyCnn, play, toy

FULL = toy(
    SplitFedV2(u_shaped=True),
    model=ToyCnn("V1", "fc1", batch_norm=True),
    training__optimizer=Adam(),
    training__client_state="per_client",
    training__aggregate=FedOpt(Adam(), lr=0.01),
)
"""A scenario whose state has everything that a state can have."""


def assert_equal_states(one: GlobalState, other: GlobalState) -> None:
    assert one.round == other.round
    assert one.client.equal(other.client) and one.server.equal(other.server)
    assert one.memory.keys() == other.memory.keys()
    for path, state in one.memory.items():
        assert state.keys() == other.memory[path].keys()
        for name, tensor in state.items():
            kept = other.memory[path][name]
            assert tensor.dtype == kept.dtype and tensor.equal(kept), (path, name)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A played scenario's checkpoint: (folder, checkpoint, played)."""
    folder = tmp_path_factory.mktemp("run")
    played = play(FULL, folder=folder)
    return folder / "checkpoints", folder / "checkpoints" / "round-000002", played


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_checkpoint_gives_back_every_bit(tmp_path, precision):
    scenario = FULL.replace(**{"training.precision": precision})
    played = play(scenario)
    assert (
        played.state.memory.get("server/optimizer", {})
        and len(by_client(played.state.memory, "optimizer")) == 6
        and played.state.memory.get("fed/optimizer/updates", {})
    )
    path = write_checkpoint(tmp_path, played.state, played.layout, scenario.hash)
    read = read_checkpoint(path, Layout(scenario), scenario.hash)
    assert_equal_states(played.state, read)
    assert Layout(scenario).digest(read) == played.digest == json.loads((path / "state.json").read_text())["digest"]


def test_a_run_writes_one_after_its_last_round_and_nothing_is_left_beside_it(written):
    folder, path, played = written
    assert newest_checkpoint(folder) == path
    assert [entry.name for entry in folder.iterdir()] == ["round-000002"]
    assert sorted(file.name for file in path.iterdir()) == ["memory.safetensors", "model.safetensors", "state.json"]
    assert_equal_states(played.state, read_checkpoint(path, played.layout, FULL.hash))


def test_the_model_in_a_checkpoint_loads_into_the_bare_network(written):
    from safetensors.torch import load_file

    from raysplit.models.network import build

    _, path, played = written
    network = build(FULL.model, 1)
    result = network.load_state_dict(load_file(path / "model.safetensors"), strict=False)
    assert not result.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in result.missing_keys)
    assert all(network.state_dict()[name].equal(tensor) for name, tensor in played.named.items())


def test_only_the_newest_two_are_kept(tmp_path):
    play(toy(FedAvg(), training__rounds=5, checkpoint_every=1), folder=tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["round-000004", "round-000005"]


def test_a_folder_without_checkpoints_has_no_newest(tmp_path):
    assert newest_checkpoint(tmp_path) is None and newest_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "scenario",
    [
        toy(FedAvg(), training__rounds=4, checkpoint_every=1),
        toy(SplitFedV1(), training__rounds=4, checkpoint_every=1, training__aggregate=FedOpt(Adam(), lr=0.01)),
        toy(SplitFedV2(), training__rounds=4, checkpoint_every=1, training__optimizer=Adam()),
        toy(
            SplitFedV2("client_major"),
            clients=9,
            cohort=Cohort(4),
            training__rounds=4,
            checkpoint_every=1,
            training__client_state="per_client",
            training__optimizer=Adam(),
        ),
        toy(SplitLearning(), training__rounds=4, checkpoint_every=1, training__client_state="travels"),
        FULL.replace(**{"training.rounds": 4, "checkpoint_every": 1}),
    ],
    ids=lambda s: f"{type(s.protocol).__name__}-{s.client_state}",
)
def test_a_run_resumed_from_a_checkpoint_ends_like_a_straight_one(tmp_path, scenario):
    class Killed(Exception):
        pass

    def kill(report):
        if report.round == 2:
            raise Killed

    with pytest.raises(Killed):
        play(scenario, folder=tmp_path / "killed", watch=kill)
    state = read_checkpoint(newest_checkpoint(tmp_path / "killed" / "checkpoints"), Layout(scenario), scenario.hash)
    assert state.round == 2
    resumed, straight = play(scenario, start=state), play(scenario)
    assert resumed.digest == straight.digest
    assert_equal_states(resumed.state, straight.state)
    assert resumed.tables["rounds"].column("round").to_pylist() == [3, 4]
    losses = straight.tables["rounds"].column("train_loss").to_pylist()
    assert resumed.tables["rounds"].column("train_loss").to_pylist() == losses[2:]


def test_a_checkpoint_of_another_scenario_is_refused(written):
    _, path, _ = written
    other = FULL.replace(seed=1)
    with pytest.raises(RunError, match=f"belongs to scenario {FULL.hash}, not {other.hash}") as caught:
        read_checkpoint(path, Layout(other), other.hash)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_a_newer_raysplit_is_refused(written, tmp_path):
    path = copied(written[1], tmp_path)
    edit_record(path, format=99)
    with pytest.raises(RunError, match=r"newer RaySplit \(format 99\)"):
        read_checkpoint(path, Layout(FULL), FULL.hash)


def copied(path, tmp_path):
    return shutil.copytree(path, tmp_path / path.name, dirs_exist_ok=True)


def edit_record(path, **fields):
    record = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**record, **fields}))


@pytest.mark.parametrize(
    "fields",
    [
        {"round": 3},
        {"round": "two"},
        {"round": None},
        {"format": "one"},
        {"sha256": []},
        {"sha256": {}},
        {"sha256": None},
    ],
    ids=str,
)
def test_a_record_that_does_not_fit_its_folder_is_refused(written, tmp_path, fields):
    path = copied(written[1], tmp_path)
    edit_record(path, **fields)
    with pytest.raises(RunError, match="is damaged") as caught:
        read_checkpoint(path, Layout(FULL), FULL.hash)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["memory.safetensors", "model.safetensors", "state.json"])
def test_a_missing_or_cut_file_is_damage(written, tmp_path, name):
    path = copied(written[1], tmp_path)
    data = (path / name).read_bytes()
    for broken in (data[:-1], data[: len(data) // 2], b""):
        (path / name).write_bytes(broken)
        with pytest.raises(RunError, match="is damaged"):
            read_checkpoint(path, Layout(FULL), FULL.hash)
    (path / name).unlink()
    with pytest.raises(RunError, match="is damaged"):
        read_checkpoint(path, Layout(FULL), FULL.hash)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["memory.safetensors", "model.safetensors", "state.json"]),
    st.floats(0, 0.999999),
    st.integers(1, 255),
)
def test_no_flipped_byte_goes_unnoticed(written, tmp_path_factory, name, place, flip):
    folder = tmp_path_factory.mktemp("flipped")
    path = copied(written[1], folder)
    data = bytearray((path / name).read_bytes())
    data[int(place * len(data))] ^= flip
    (path / name).write_bytes(data)
    try:
        state = read_checkpoint(path, Layout(FULL), FULL.hash)
    except RunError as error:
        assert "\n" not in str(error)
    else:
        # only white space, and what tells about the state without being part of it, may go unnoticed
        assert name == "state.json"
        assert_equal_states(state, written[2].state)
    finally:
        shutil.rmtree(folder)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    played = play(toy(FedAvg()))
    path = write_checkpoint(tmp_path, played.state, played.layout, "hash")
    later = GlobalState(3, played.state.client + 1, played.state.server)
    with pytest.raises(RunError, match="cannot be written"):
        write_checkpoint(tmp_path / "round-000002" / "state.json", later, played.layout, "hash")
    assert newest_checkpoint(tmp_path) == path
    assert_equal_states(read_checkpoint(path, played.layout, "hash"), played.state)
