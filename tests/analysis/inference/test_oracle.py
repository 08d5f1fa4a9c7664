"""The oracle line, the strongest of several decoders, and the budget that is spent on choosing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import raysplit
from raysplit import ClusterLabels, DecoderTraining, QueryDecoder, SplitFedV2, UnSplit, WhiteBoxInversion
from raysplit.analysis.inference.files import folder_of, record_of
from raysplit.analysis.inference.infer import Setup, infer_trained
from raysplit.analysis.inference.oracle import check_oracle, is_above_oracle, with_oracle
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.app.commands import infer as command
from raysplit.attacks.inference import decoders
from raysplit.attacks.inference.decoders import strongest, train_decoder
from raysplit.errors import ScenarioError
from tests.toys import toy

UNSPLIT = UnSplit(rounds=1, input_steps=1, model_steps=1)
SHORT = DecoderTraining(epochs=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    scenario = toy(SplitFedV2(), clients=12)
    run = raysplit.run(scenario, engine="local", out=tmp_path_factory.mktemp("runs"))
    return read_trained(run.path, scenario)


def test_the_oracle_has_the_weights_and_any_number_of_queries_whatever_the_adversary_has(trained):
    inference = infer_trained(trained, UNSPLIT, None, Setup(samples=3, queries=0))
    for oracle in (QueryDecoder(queries=5, training=SHORT), WhiteBoxInversion(steps=5)):
        row = f"oracle: {type(oracle).__name__}"
        beside = with_oracle(inference, oracle)
        assert beside.scores[: len(inference.scores)] == inference.scores
        assert {score.metric for score in beside.scores if score.of == row} >= {"MSE", "SSIM", "identified"}
        assert beside.found.inputs.equal(inference.found.inputs) and beside.adversary == inference.adversary


def test_its_scores_are_those_of_the_same_attack_by_somebody_who_holds_everything(trained):
    oracle = QueryDecoder(queries=20, training=SHORT)
    alone = infer_trained(trained, oracle, None, Setup(samples=3))
    beside = with_oracle(infer_trained(trained, UNSPLIT, None, Setup(samples=3, queries=0)), oracle)
    mine = {s.metric: s.value for s in alone.scores if s.of == "QueryDecoder"}
    assert {s.metric: s.value for s in beside.scores if s.of == "oracle: QueryDecoder"} == mine


def test_an_attack_that_is_nearer_than_its_oracle_is_marked(trained):
    near, far = UNSPLIT, WhiteBoxInversion(steps=1)  # of noise, grey is nearer than black
    better, worse = (infer_trained(trained, attack, None, Setup(samples=3)) for attack in (near, far))
    above, below = with_oracle(better, far), with_oracle(worse, near)
    assert is_above_oracle(above) and not is_above_oracle(below) and not is_above_oracle(better)
    assert any(line.startswith("above the oracle: UnSplit") for line in command.threat_lines(above))
    assert record_of(above)["above_oracle"] and not record_of(below)["above_oracle"]
    assert "above_oracle" not in record_of(better)
    assert folder_of(above, trained.path) != folder_of(better, trained.path)


def test_an_oracle_beside_labels_is_refused_before_anything_is_attacked():
    for oracle, attack in ((WhiteBoxInversion(), ClusterLabels()), (ClusterLabels(), WhiteBoxInversion())):
        with pytest.raises(ScenarioError, match="but ClusterLabels is after labels"):
            check_oracle(oracle, attack)


def test_a_record_without_an_oracle_belongs_where_it_did_whatever_was_chosen(trained):
    plain = infer_trained(trained, UNSPLIT, None, Setup(samples=3))
    told = replace(plain, found=replace(plain.found, chosen="something"))
    assert folder_of(plain, trained.path) == folder_of(told, trained.path)


def test_the_command_prints_what_was_chosen_and_the_oracles_row(trained, capsys, monkeypatch):
    monkeypatch.setattr(command, "stored_scenario", lambda _: (trained.scenario, None))
    text = "QueryDecoder(queries=20, decoders=('small', 'residual'), training=DecoderTraining(epochs=1))"
    command.infer_run(trained.path, "UnSplit(rounds=1, input_steps=1)", Setup(samples=2), None, None, True, text)
    record = json.loads(capsys.readouterr().out)
    assert record["oracle"]["type"] == "QueryDecoder" and "best of 2 trials" in record["chosen"]
    assert any(score["of"] == "oracle: QueryDecoder" for score in record["scores"])


def pairs(m: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(m, 2, 8, 8, generator=draw), torch.rand(m, 1, 8, 8, generator=draw)


def test_the_winner_has_the_smallest_error_on_a_fifth_that_no_decoder_was_trained_on(monkeypatch):
    tried = []

    def watched(network, z, x, training, draw):
        tried.append((training.lr, train_decoder(network, z, x, training, draw)))
        return tried[-1][1]

    monkeypatch.setattr(decoders, "train_decoder", watched)
    kinds = ("small", "residual")
    training = DecoderTraining(epochs=1, lr=0.01)
    network, choice = strongest(kinds, pairs(), training, torch.Generator().manual_seed(1), trials=5)
    assert [lr for lr, _ in tried] == pytest.approx([0.01, 0.01, 0.03, 0.03, 0.01 / 3])
    best = min(range(5), key=lambda number: tried[number][1])
    assert (choice.kind, choice.lr, choice.error) == (kinds[best % 2], tried[best][0], tried[best][1])
    assert (choice.trials, choice.held) == (5, 4) and "best of 5 trials" in str(choice)
    assert sum(p.numel() for p in network.parameters()) > 0


def test_what_is_held_out_changes_no_trained_weight():
    z, x = pairs()
    one, choice = strongest(("small",), (z, x), SHORT, torch.Generator().manual_seed(1))
    held = _held(20, choice.held)
    other_z, other_x = z.clone(), x.clone()
    other_z[held], other_x[held] = 0.5, 0.5
    other, _ = strongest(("small",), (other_z, other_x), SHORT, torch.Generator().manual_seed(1))
    same = zip(one.parameters(), other.parameters(), strict=True)
    assert all(a.equal(b) for a, b in same)
    other_x[next(row for row in range(20) if row not in held)] = 0.9
    third, _ = strongest(("small",), (other_z, other_x), SHORT, torch.Generator().manual_seed(1))
    assert not all(a.equal(b) for a, b in zip(one.parameters(), third.parameters(), strict=True))


def _held(pairs: int, count: int) -> list[int]:
    """The rows that the first decoder of the stream does not see: drawn after its weights' seed."""
    draw = torch.Generator().manual_seed(1)
    torch.randint(1 << 62, (), generator=draw)
    return torch.randperm(pairs, generator=draw)[:count].tolist()


def test_a_decoder_that_diverges_never_wins(monkeypatch):
    errors = iter((float("nan"), 0.5, 0.7))
    monkeypatch.setattr(decoders, "train_decoder", lambda *_: next(errors))
    _, choice = strongest(("small", "wide", "deep"), pairs(), SHORT, torch.Generator().manual_seed(1))
    assert choice.kind == "wide"


def test_trials_beyond_three_for_each_decoder_are_refused():
    QueryDecoder(decoders=("small", "wide"), trials=6)
    for trials in (-1, 7):
        with pytest.raises(ScenarioError, match="from 0 to 6"):
            QueryDecoder(decoders=("small", "wide"), trials=trials)
