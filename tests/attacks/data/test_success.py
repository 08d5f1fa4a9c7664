"""Attack success: against a count by hand, from round 1 on, in clean runs too, in the tables and in the report."""

from pathlib import Path

import numpy as np
import pytest
import torch

from raysplit import (
    Cohort,
    CompositeAttack,
    Evaluation,
    FedAvg,
    LabelFlip,
    PixelBackdoor,
    SignFlip,
    SplitFedV2,
    SplitFedV3,
    TargetedLabelFlip,
)
from raysplit.analysis.report import accuracy_table, to_markdown, trials
from raysplit.analysis.report.page import page
from raysplit.engine.host import Host
from raysplit.errors import ScenarioError
from raysplit.models.network import build
from raysplit.simulation.shared_rounds import leaves_traces, shared_rounds
from tests.toys import play, toy

FILE = Path(__file__).resolve().parents[3] / "scenarios" / "backdoors.py"
BACKDOOR = PixelBackdoor(target=1, start_round=3)


def scenario(protocol, attack=BACKDOOR, **changes):
    return toy(protocol, cohort=Cohort(6, 0.5), training__rounds=3, attack=attack, **changes)


def by_hand(played, experiment, stamp, wanted, concerned):
    """(successes, attempts) of the final model, one sample after another."""
    network = build(experiment.model, 0).eval()
    network.load_state_dict(played.named)
    population, hits, tried = experiment.population.open(), 0, 0
    for client in range(6):
        x, y = population.test(client)
        for sample, label in zip(x, y.tolist(), strict=True):
            if not concerned(label):
                continue
            with torch.no_grad():
                answer = int(network(stamp(sample[None]).float() / 255).argmax())
            hits, tried = hits + (answer == wanted), tried + 1
    return hits, tried


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV2()], ids=repr)
def test_it_is_the_share_of_triggered_samples_that_are_taken_for_the_target(protocol):
    experiment = scenario(protocol)
    played = play(experiment)
    row = played.tables["evaluations"].to_pylist()[-1]
    hits, tried = by_hand(played, experiment, BACKDOOR.trigger.stamp, 1, lambda label: label != 1)
    assert row["attack_samples"] == tried > 0 and row["attack_success"] == hits / tried


def test_of_a_targeted_flip_it_is_the_share_of_the_source_class():
    experiment = scenario(FedAvg(), TargetedLabelFlip(0, 3))
    played = play(experiment)
    row = played.tables["evaluations"].to_pylist()[-1]
    hits, tried = by_hand(played, experiment, lambda x: x, 3, lambda label: label == 0)
    assert row["attack_samples"] == tried > 0 and row["attack_success"] == hits / tried


def test_it_is_measured_before_the_attack_and_in_a_clean_run_and_changes_nothing():
    attacked = play(scenario(SplitFedV2()))
    clean = play(scenario(SplitFedV2(), None, evaluation=Evaluation(success_of=BACKDOOR)))
    plain = play(scenario(SplitFedV2(), None))
    rows, twin = (played.tables["evaluations"].to_pylist() for played in (attacked, clean))
    assert rows[:2] == twin[:2] and all(row["attack_success"] is not None for row in twin)
    assert clean.digest == plain.digest != attacked.digest
    assert [row["attack_success"] for row in plain.tables["evaluations"].to_pylist()] == [None] * 3
    assert [
        row["attack_samples"] for row in play(scenario(FedAvg(), LabelFlip())).tables["evaluations"].to_pylist()
    ] == [None] * 3


def test_each_clients_own_portion_is_tried_where_portions_never_meet():
    experiment = scenario(SplitFedV3())
    played = play(experiment)
    host = Host(experiment)
    scores = host.evaluate(np.arange(6), played.state.client, played.state.server, played.state.client_portions)
    alone = [
        host.evaluate(np.array([c]), played.state.client_portions.get(c, played.state.client), played.state.server)
        for c in range(6)
    ]
    assert scores.successes.tolist() == [int(one.successes[0]) for one in alone]
    row = played.tables["evaluations"].to_pylist()[-1]
    assert row["attack_success"] == scores.successes.sum() / scores.attempts.sum()


def test_no_sample_to_try_is_no_success_rate():
    lonely = TargetedLabelFlip(0, 3, start_round=3)
    experiment = scenario(FedAvg(), lonely, evaluation=Evaluation(clients=1))
    population = experiment.population.open()
    judged = play(experiment).tables["client_evaluations"].column("client").to_pylist()[0]
    [row] = play(experiment).tables["evaluations"].to_pylist()[-1:]
    count = int((population.test(judged).y == 0).sum())
    assert row["attack_samples"] == count and (row["attack_success"] is None) == (count == 0)


def test_a_run_that_measured_is_not_forked_from_one_that_did_not():
    measuring = Evaluation(success_of=BACKDOOR)

    def shared(clean, attacked):
        both = (
            shared_rounds(attacked, clean.to_json(), leaves_traces(clean)),
            shared_rounds(clean, attacked.to_json()),
        )
        assert both[0] == both[1]
        return both[0]

    late = scenario(FedAvg()).attack.start_round - 1
    assert late > 0 and shared(scenario(FedAvg(), None), scenario(FedAvg())) == 0
    same = scenario(FedAvg(), None, evaluation=measuring), scenario(FedAvg(), evaluation=measuring)
    assert shared_rounds(same[1], same[0].to_json()) == late
    assert shared(scenario(FedAvg(), None), scenario(FedAvg(), LabelFlip(start_round=2))) == 1


def test_only_an_attack_with_a_goal_can_be_measured():
    with pytest.raises(ScenarioError, match=r"success_of takes an attack with a goal.*SignFlip has none"):
        scenario(FedAvg(), None, evaluation=Evaluation(success_of=SignFlip()))
    joined = CompositeAttack((BACKDOOR, SignFlip()))
    assert scenario(FedAvg(), None, evaluation=Evaluation(success_of=joined)).evaluation.success_of == joined


def runs(tmp_path, scenarios):
    import sys

    from raysplit.analysis.runs.run import open_run
    from raysplit.app.running.engine_choice import EngineChoice
    from raysplit.app.running.runner import Job, Watch, run
    from raysplit.storage.run_folder import folder_for

    source = tmp_path / "made.py"
    tmp_path.mkdir(exist_ok=True)
    source.write_text("# made by a test\n")
    opened = []
    for made in scenarios:
        job = Job(made, sys.modules[__name__], source, {}, folder_for(made, tmp_path / "runs"))
        opened.append(open_run(run(job, EngineChoice(engine="local"), Watch()).folder.path))
    return opened


def test_the_scenario_file_of_backdoors_can_be_read(tmp_path):
    from raysplit.app.running.runner import jobs_from

    jobs = jobs_from(FILE, tmp_path, [])
    assert len(jobs) == 16 and {job.scenario.attack is None for job in jobs} == {True, False}


def test_the_report_has_it_beside_the_accuracy(tmp_path):
    attacked = scenario(FedAvg(), name="attacked")
    found = runs(tmp_path, [attacked, scenario(FedAvg(), None, name="clean")])
    table = accuracy_table(trials(found), "final")
    assert table.columns[3:] == ("ASR_clean", "ASR") and len(table.rows[0]) - len(table.stubs) == 5
    rows = found[0].evaluations.to_pylist()
    [clean, success] = table.rows[0][-2:]
    assert clean == f"{100 * rows[1]['attack_success']:.1f}*" and success == f"{100 * rows[2]['attack_success']:.1f}"
    assert "before the attack" in table.notes[-1] and "ASR: attack success rate" in to_markdown(table)
    written = page(found)
    assert "Attack success" in written and "ASR<sub>clean</sub>" in written

    measuring = Evaluation(success_of=BACKDOOR)
    twins = runs(
        tmp_path / "b",
        [scenario(FedAvg(), None, name="c", evaluation=measuring), scenario(FedAvg(), name="d", evaluation=measuring)],
    )
    [cells] = accuracy_table(trials(twins), "final").rows
    assert cells[-2] == f"{100 * twins[0].evaluations.to_pylist()[-1]['attack_success']:.1f}"
