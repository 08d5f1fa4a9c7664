"""``raysplit matrix``: what attacks do to rules on one matrix, against the run that recorded it and against
formulas."""

import csv
import json

import pytest
import torch
from typer.testing import CliRunner

import raysplit
from raysplit import FLTrust, FoolsGold, Krum, Mean, Median, MinMax, MultiKrum, SignFlip, SplitFedV2, TrimmedMean
from raysplit.analysis.matrix.honest_updates import HELD_OUT, recorded, synthetic
from raysplit.analysis.matrix.matrix import NO_ATTACK, attack_matrix
from raysplit.analysis.matrix.parts import all_parts, named_in, parts_named
from raysplit.app.cli import app
from raysplit.errors import RunError, ScenarioError
from raysplit.population.selection.cohort import Cohort
from raysplit.storage.updates import path_of, read_updates
from tests.toys import play, toy


def matrix(*arguments, code=0):
    ended = CliRunner().invoke(app, ["matrix", *map(str, arguments)])
    assert ended.exit_code == code, ended.output
    return ended


def test_all_public_parts_on_made_up_updates(tmp_path):
    ended = matrix("--synthetic", "23,4,40", "--out", tmp_path / "out", "--json")
    form = json.loads(ended.stdout)
    assert "n = 23, m = 4, d = 40" in form["title"]
    attacks, _ = all_parts("attacks.updates")
    rules, _ = all_parts("aggregation.rules")
    assert len(form["pairs"]) == (1 + len(attacks)) * len(rules) and len(attacks) >= 12 and len(rules) >= 18
    for pair in form["pairs"]:
        assert (pair["refusal"] is None) != (pair["bias"] is None)
        assert pair["malicious_selected"] is None or 0 <= pair["malicious_selected"] <= 1
    answered = [pair for pair in form["pairs"] if pair["refusal"] is None]
    assert {pair["attack"] for pair in form["pairs"] if pair["refusal"]} == {"AgrTailored"}
    assert all(pair["seconds"] >= 0 for pair in answered)
    named = {note.split(" has no default")[0] for note in form["notes"] if "has no default" in note}
    public = {*named_in("attacks.updates"), *named_in("aggregation.rules")}
    assert named == {"OnServerReplicas", "Composed", "CRFL", "DpFedAvg", "StartAtRound"} and named < public <= set(
        raysplit.__all__
    )
    assert json.loads((tmp_path / "out" / "matrix.json").read_text()) == form
    with open(tmp_path / "out" / "matrix.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["relative_bias"] for row in rows] == [
        "" if pair["relative_bias"] is None else str(pair["relative_bias"]) for pair in form["pairs"]
    ]
    assert (tmp_path / "out" / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_names_refusals_and_does_not_stop(tmp_path):
    ended = matrix(
        *("--synthetic", "8,3,20", "--out", tmp_path, "--attacks", "MinMax", "--rules", "Bulyan, TrimmedMean(f=2)")
    )
    assert "Bulyan under none: Bulyan needs at least 15 updates" in ended.stdout
    assert "MinMax:" in ended.stdout and "more clients lie than it can bear" in ended.stdout


@pytest.mark.parametrize("rule", [Mean(), Median(), TrimmedMean(), MultiKrum()], ids=repr)
def test_without_attack_the_bias_is_the_rules_own(rule):
    cohort = synthetic(15, 3, 60, seed=7)
    recorded_round = cohort.round
    [pair] = attack_matrix(cohort, {}, {"rule": rule}).pairs
    update = rule.aggregate(recorded_round.updates, recorded_round.weights, recorded_round.context()).update
    benign = recorded_round.updates[~recorded_round.malicious].mean(0)
    assert pair.attack == NO_ATTACK
    assert pair.bias == pytest.approx(float((update - benign).norm()), rel=1e-5)
    assert pair.relative_bias == pytest.approx(pair.bias / float(benign.norm()), rel=1e-5)
    assert pair.cosine == pytest.approx(float(torch.cosine_similarity(update, benign, dim=0)), rel=1e-5)
    assert pair.norm == pytest.approx(float(update.norm()), rel=1e-6)


def test_the_same_seed_is_the_same_matrix_and_the_rows_are_as_said():
    one, same, other = synthetic(40, 8, 4000, 1), synthetic(40, 8, 4000, 1), synthetic(40, 8, 4000, 2)
    assert torch.equal(one.round.updates, same.round.updates)
    assert not torch.equal(one.round.updates, other.round.updates)
    assert int(one.round.malicious.sum()) == 8 and not bool(one.round.malicious[:8].all())
    mean = one.round.updates.double().mean(0)
    rest = one.round.updates.double() - mean
    assert float((rest**4).mean() / (rest**2).mean() ** 2) > 6  # a normal distribution has 3
    cosines = torch.nn.functional.cosine_similarity(one.round.updates.double(), mean[None], dim=1)
    assert 0.2 < float(cosines.mean()) < 0.8


def test_a_recorded_run_gives_its_own_aggregation_row_again(tmp_path):
    scenario = toy(
        SplitFedV2(),
        clients=12,
        cohort=Cohort(12, malicious=0.25, of="cohort"),
        defense=MultiKrum(),
        attack=MinMax(start_round=2),
        record_updates_every=1,
    )
    played = play(scenario, folder=tmp_path)
    for round in (1, 2):
        row = played.tables["aggregation"].to_pylist()[round - 1]
        found = attack_matrix(recorded(tmp_path, round), {"MinMax": MinMax()}, {"MultiKrum": MultiKrum()})
        pair = found.pair("MinMax" if round == 2 else NO_ATTACK, "MultiKrum")
        assert (pair.bias, pair.relative_bias, pair.cosine) == (row["bias"], row["relative_bias"], row["cosine"])
        assert pair.malicious_selected == row["selected_malicious"] / 3
    assert torch.equal(
        recorded(path_of(tmp_path / "updates", 2)).round.updates,
        read_updates(path_of(tmp_path / "updates", 2)).before_poisoning(),
    )
    before = path_of(tmp_path / "updates", 2).read_bytes()
    ended = matrix("--updates", tmp_path, "--rules", "Krum", "--attacks", "SignFlip", "--out", tmp_path / "m", "--json")
    assert "round-000002.arrow, n = 12, m = 3" in json.loads(ended.stdout)["title"]
    assert path_of(tmp_path / "updates", 2).read_bytes() == before
    with pytest.raises(RunError, match="no recorded updates of round 7; it has rounds 1, 2"):
        recorded(tmp_path, 7)
    with pytest.raises(RunError, match="has no recorded updates; run its scenario"):
        recorded(tmp_path / "m")


def test_a_reference_is_held_out_of_that_column_alone():
    cohort = synthetic(10, 2, 30, 3)
    whole, held = cohort.round, cohort.with_reference().round
    assert len(held.updates) == 10 - HELD_OUT and int(held.malicious.sum()) == 2
    assert float(held.weights.sum()) == pytest.approx(1)
    out = whole.updates[[row for row in range(10) if row not in set(held.clients)]]
    assert torch.allclose(held.reference, out.mean(0))
    found = attack_matrix(cohort, {}, {"FLTrust": FLTrust(), "Mean": Mean()})
    assert found.pair(NO_ATTACK, "FLTrust").bias is not None
    without_fltrust = attack_matrix(cohort, {}, {"Mean": Mean()}).pair(NO_ATTACK, "Mean")
    assert found.pair(NO_ATTACK, "Mean").bias == without_fltrust.bias
    assert any("FLTrust: the reference is the mean of 3 benign rows" in note for note in found.notes)
    small = attack_matrix(synthetic(4, 1, 30, 3), {}, {"FLTrust": FLTrust()})
    assert "there are only 3" in small.pairs[0].refusal


def test_rules_that_remember_and_nobody_malicious():
    cohort = synthetic(10, 0, 30, 3)
    found = attack_matrix(cohort, {"SignFlip": SignFlip()}, {"FoolsGold": FoolsGold(), "Krum": Krum()})
    assert found.attacks == (NO_ATTACK,) and all(pair.malicious_selected is None for pair in found.pairs)
    assert "Nobody is malicious here, so no attack was carried out." in found.notes


def test_parts_by_name():
    found = parts_named(
        "Krum, Composed(pre=(Bucketing(size=2),), rule=Median()), Clipping", "aggregation.rules", "--rules"
    )
    assert list(found) == ["Krum", "Composed(pre=(Bucketing(size=2),), rule=Median())", "Clipping + Median"]
    assert found["Krum"] == Krum()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--rules", "Krumm"), "--rules knows no 'Krumm'; did you mean 'Krum'?"),
        (("--rules", "SignFlip"), "--rules knows no 'SignFlip'"),
        (("--rules", "Krum("), "is no list of parts"),
        (("--rules", "TrimmedMean(2)"), "name the arguments of 'TrimmedMean(2)'"),
        (("--rules", "TrimmedMean(cut=2)"), "TrimmedMean has no option 'cut'; choose from 'f'"),
        (("--rules", "1 + 1"), "takes parts such as 'Krum'"),
        (("--attacks", "MinMax(start_round=__import__('os'))"), "--attacks"),
        (("--synthetic", "5,5,2"), "needs 0 ≤ M < N and D ≥ 1, but it is 5,5,2"),
        (("--synthetic", "5,2"), "takes N,M,D"),
        (("--round", "3"), "give their run with --updates"),
        (("--updates", "nothing.arrow"), "does not exist"),
        (("--updates", "nothing.arrow", "--synthetic", "5,1,2"), "leave them out with --updates"),
        (("--updates", "nothing.arrow", "--round", "1"), "leave it out with a file"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence):
    ended = CliRunner().invoke(app, ["matrix", *arguments])
    assert isinstance(ended.exception, ScenarioError | RunError) and sentence in str(ended.exception)
