"""Recorded updates: what the fed server received, from which its rule makes the run's own aggregate
again."""

import dataclasses
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
import torch

from raysplit import (
    AgrTailored,
    CentredClipping,
    Cohort,
    DivideAndConquer,
    FedAvg,
    FLTrust,
    Mean,
    Median,
    MultiKrum,
    ParallelSl,
    SignFlip,
    SplitFedV1,
    SplitFedV2,
    TrimmedMean,
)
from raysplit.analysis.runs.run import open_run
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Fork, Job, Watch, run
from raysplit.errors import RunError, ScenarioError
from raysplit.scenario.layout import Layout
from raysplit.storage.run_folder import folder_for
from raysplit.storage.updates import path_of, read_updates, recorded_rounds, rewind_updates, write_updates
from tests.toys import ToyCnn, play, toy

MALICIOUS = Cohort(12, malicious=0.25, of="cohort")


def recorded(protocol=None, every=1, **changes):
    changes = {"cohort": MALICIOUS, "clients": 12, "training__rounds": 3, **changes}
    return toy(protocol or SplitFedV2(), record_updates_every=every, **changes)


@pytest.mark.parametrize("attack", [None, AgrTailored(gamma=2.0), SignFlip(start_round=2)], ids=repr)
@pytest.mark.parametrize(
    "rule",
    [
        Mean(),
        TrimmedMean(),
        Median(),
        MultiKrum(),
        DivideAndConquer(columns=50),
        FLTrust(roots=(3,)),
        CentredClipping(),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_the_rule_makes_the_runs_aggregate_again_bit_for_bit(tmp_path, rule, attack):
    scenario = recorded(defense=rule, attack=attack)
    starts = {1: Layout(scenario).initial().client}
    played = play(scenario, folder=tmp_path)
    memory = {}
    for round in recorded_rounds(tmp_path / "updates"):
        kept = read_updates(path_of(tmp_path / "updates", round))
        assert kept.round == round and kept.scenario == scenario.hash
        assert round > 1 or torch.equal(kept.portion, starts[1])
        context = kept.context(memory)
        aggregate = rule.aggregate(kept.updates, kept.weights, context)
        memory = aggregate.memory
        starts[round + 1] = kept.portion + aggregate.update
        if round + 1 <= 3:
            after = read_updates(path_of(tmp_path / "updates", round + 1))
            assert torch.equal(after.portion, starts[round + 1])
    assert torch.equal(played.state.client, starts[4])


def test_buffers_stay_out(tmp_path):
    scenario = recorded(SplitFedV1(), model=ToyCnn(batch_norm=True), defense=TrimmedMean())
    played = play(scenario, folder=tmp_path)
    kept = read_updates(path_of(tmp_path / "updates", 3))
    parameters = Layout(scenario).client.parameters
    assert kept.updates.shape == (12, parameters) and parameters < len(played.state.client)
    aggregate = TrimmedMean().aggregate(kept.updates, kept.weights, kept.context())
    assert torch.equal(played.state.client[:parameters], kept.portion + aggregate.update)


def test_honest_rows_are_those_of_the_clean_round(tmp_path):
    """Without memory of earlier poison, round 1 of a clean and of an attacked run trains the same updates."""
    play(recorded(defense=TrimmedMean()), folder=tmp_path / "clean")
    play(recorded(defense=TrimmedMean(), attack=SignFlip()), folder=tmp_path / "attacked")
    clean, attacked = (read_updates(path_of(tmp_path / name / "updates", 1)) for name in ("clean", "attacked"))
    assert not clean.attacked and clean.honest.shape[0] == 0 and attacked.honest.shape[0] == 3
    assert torch.equal(attacked.before_poisoning(), clean.updates)
    assert not torch.equal(attacked.updates[attacked.malicious], attacked.honest)
    assert torch.equal(attacked.updates[~attacked.malicious], clean.updates[~clean.malicious])
    assert attacked.assumed == 3 and attacked.malicious.sum() == 3
    assert attacked.weights.sum() == pytest.approx(1) and sorted(attacked.clients) == list(range(12))


def test_rows_are_mapped_not_copied_and_the_file_is_safe_from_writes(tmp_path):
    play(recorded(), folder=tmp_path)
    path = path_of(tmp_path / "updates", 1)
    before = path.read_bytes()
    kept = read_updates(path)
    values = kept.updates.numpy()
    assert not values.flags.owndata and values.flags.c_contiguous and values.dtype == np.float32
    with pa.memory_map(str(path)) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
        assert np.array_equal(batch.column("update").flatten().to_numpy().reshape(values.shape), values)
    kept.updates.zero_()
    assert path.read_bytes() == before


def test_float64_stays_float64(tmp_path):
    play(recorded(training__precision="float64"), folder=tmp_path)
    assert read_updates(path_of(tmp_path / "updates", 1)).updates.dtype == torch.float64


def test_only_every_so_many_rounds_and_recording_a_clean_mean_changes_last_bits_only(tmp_path):
    played = play(recorded(every=2, training__rounds=5), folder=tmp_path)
    assert recorded_rounds(tmp_path / "updates") == [2, 4]
    plain = play(recorded(every=None, training__rounds=5))
    assert torch.allclose(played.state.client, plain.state.client, atol=1e-5)


def job(tmp_path, scenario):
    source = tmp_path / "toy_scenario.py"
    source.write_text(
        "import tests.storage.test_updates as here\n"
        f"scenario = here.recorded(defense=here.TrimmedMean(), training__rounds={scenario.training.rounds}, "
        "checkpoint_every=2)\n"
    )
    origin = {"file": source.name, "scenario": scenario.name, "set": []}
    return Job(scenario, ModuleType("toy"), source, origin, folder_for(scenario, tmp_path))


def test_a_resumed_run_has_each_file_once_and_the_same(tmp_path):
    scenario = recorded(defense=TrimmedMean(), training__rounds=5, checkpoint_every=2)
    local = EngineChoice(engine="local")
    (tmp_path / "straight").mkdir()
    straight = run(job(tmp_path / "straight", scenario), local, Watch())
    broken = job(tmp_path, scenario)

    def stop(report):
        if report.round == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(broken, local, Watch(round=stop))
    # As a kill leaves it: only the checkpoint of round 2 stands, but round 3 was recorded, and round 4 half written.
    for checkpoint in broken.folder.checkpoints.glob("round-000003*"):
        checkpoint.rename(tmp_path / "gone")
    (broken.folder.updates / ".round-000004.arrow.0a0a.tmp").write_bytes(b"half")
    ended = run(broken, local, Watch(), "continue")
    assert ended.digest == straight.digest
    names = [path.name for path in sorted(broken.folder.updates.iterdir())]
    assert names == [f"round-{round:06d}.arrow" for round in range(1, 6)]
    for name in names:
        assert (broken.folder.updates / name).read_bytes() == (straight.folder.updates / name).read_bytes()
    opened = open_run(ended.folder.path)
    assert opened.updates(4).round == 4
    with pytest.raises(RunError, match=r"no recorded updates of round 9; it has rounds 1, 2, 3, 4, 5"):
        opened.updates(9)


def test_a_forked_run_has_its_twins_rounds_and_overwriting_removes_old_ones(tmp_path):
    local = EngineChoice(engine="local")
    clean = job(tmp_path, recorded(training__rounds=3))
    clean = dataclasses.replace(clean, keep=frozenset({1}))
    attacked = recorded(training__rounds=3, attack=SignFlip(start_round=2), name="attacked")
    run(clean, local, Watch())
    forked = run(dataclasses.replace(job(tmp_path, attacked), forks=(Fork(clean.folder, 1),)), local, Watch())
    assert recorded_rounds(forked.folder.updates) == [1, 2, 3]
    kept = [read_updates(path_of(forked.folder.updates, round)) for round in (1, 2, 3)]
    assert [one.attacked for one in kept] == [False, True, True]
    assert [one.scenario for one in kept] == [clean.scenario.hash, attacked.hash, attacked.hash]
    assert torch.equal(kept[1].portion, read_updates(path_of(clean.folder.updates, 2)).portion)
    stray = path_of(clean.folder.updates, 9)
    stray.write_bytes(b"old")
    run(clean, local, Watch(), "replace")
    assert recorded_rounds(clean.folder.updates) == [1, 2, 3]


def test_rewinding_removes_later_rounds(tmp_path):
    play(recorded(), folder=tmp_path)
    rewind_updates(tmp_path / "updates", 1)
    assert recorded_rounds(tmp_path / "updates") == [1]
    rewind_updates(tmp_path / "nothing", 1)


def test_a_damaged_or_foreign_file_is_one_sentence(tmp_path):
    play(recorded(), folder=tmp_path)
    path = path_of(tmp_path / "updates", 1)
    whole = path.read_bytes()
    for data in (b"", b"ARROW1", whole[: len(whole) // 2], whole[:-3]):
        path.write_bytes(data)
        with pytest.raises(RunError, match="is no recorded round, or damaged"):
            read_updates(path)
    with pytest.raises(RunError, match="does not exist"):
        read_updates(tmp_path / "nothing.arrow")
    path.write_bytes(whole)
    kept = read_updates(path)
    assert write_updates(tmp_path / "again", kept).read_bytes() == whole
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(RunError, match="cannot be written"):
        write_updates(blocked, dataclasses.replace(kept))


def test_what_cannot_be_recorded_is_refused():
    with pytest.raises(ScenarioError, match="at least 1 round or None"):
        recorded(every=0)
    with pytest.raises(ScenarioError, match="ParallelSl has no updates channel"):
        toy(ParallelSl(), record_updates_every=1)
    with pytest.raises(ScenarioError, match="a mean that is none"):
        toy(SplitFedV2(order="client_major", as_published="slperf"), record_updates_every=1)
    assert toy(FedAvg(), record_updates_every=3).hash != toy(FedAvg()).hash
