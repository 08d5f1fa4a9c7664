from __future__ import annotations

from pathlib import Path

from raysplit.analysis.report import accuracy_table, to_markdown, trials
from raysplit.analysis.report.tables import to_html
from tests.analysis.report.made_up import MEDIAN, TRIMMED_MEAN, make_run, pair, scenario, table_two, tailored


def test_a_clean_run_is_paired_with_the_attacked_run_of_its_scenario(tmp_path: Path) -> None:
    runs = [*pair(tmp_path / "a"), *pair(tmp_path / "b", seed=7)]
    found = trials(list(reversed(runs)))
    assert [(t.clean.scenario["seed"], t.attacked.scenario["seed"]) for t in found if t.clean and t.attacked] == [
        (7, 7),
        (42, 42),
    ]


def test_one_clean_run_serves_every_attack_on_its_scenario(tmp_path: Path) -> None:
    clean = make_run(tmp_path / "clean", scenario())
    attacked = [make_run(tmp_path / sign, scenario(attack=tailored(perturbation=sign))) for sign in ("std", "sign")]
    found = trials([clean, *attacked])
    assert [trial.clean for trial in found] == [clean, clean]
    table = accuracy_table(found, "final")
    assert table.stubs[-1] == "Setting"
    assert sorted(row[3] for row in table.rows) == ["attack.perturbation=sign", "attack.perturbation=std"]


def test_runs_that_differ_by_more_than_the_attack_are_not_paired(tmp_path: Path) -> None:
    clean = make_run(tmp_path / "clean", scenario(seed=1))
    attacked = make_run(tmp_path / "attacked", scenario(attack=tailored()))
    assert {(trial.clean, trial.attacked) for trial in trials([clean, attacked])} == {(None, attacked), (clean, None)}


def test_the_drop_is_the_clean_accuracy_minus_the_attacked_one(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    (trial,) = trials(runs)
    clean, attacked = (run.evaluations.column("accuracy").to_pylist() for run in runs)
    assert trial.drop("final") == clean[-1] - attacked[-1]
    assert trial.drop("best") == max(clean) - max(attacked)


def test_the_table_has_the_layout_of_the_papers_tables(tmp_path: Path) -> None:
    table = accuracy_table(trials(table_two(tmp_path)), "final")
    assert table.stubs == ["Model", "Protocol", "Split"] and table.rules == ["TrimmedMean", "Median"]
    assert [row[1:3] for row in table.rows] == [
        ["FedAvg", "–"],
        ["SplitFedV2", "V1"],
        ["SplitFedV2", "V2"],
        ["SplitFedV2", "V3"],
    ]
    for row in table.rows:
        for acc, attacked, drop in (row[3:6], row[6:9]):
            assert abs(float(acc) - float(attacked) - float(drop)) < 0.11
    drops = [float(row[5]) for row in table.rows]
    assert drops[0] > drops[3] > drops[2] > drops[1]


def test_several_seeds_share_a_cell(tmp_path: Path) -> None:
    runs = [run for seed in (1, 2, 3) for run in pair(tmp_path / str(seed), seed=seed)]
    (row,) = accuracy_table(trials(runs), "final").rows
    assert all(" ± " in cell for cell in row[3:])


def test_a_missing_partner_leaves_a_dash(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "c", scenario()), *pair(tmp_path / "m", defense=MEDIAN)]
    (row,) = accuracy_table(trials(runs), "final").rows
    table = accuracy_table(trials(runs), "final")
    first = 3 + 3 * table.rules.index("TrimmedMean")
    assert row[first] != "–" and row[first + 1 : first + 3] == ["–", "–"]


def test_rules_of_one_type_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    oracle = TRIMMED_MEAN | {"trim": "actual"}
    runs = [*pair(tmp_path / "a"), *pair(tmp_path / "b", defense=oracle)]
    assert accuracy_table(trials(runs), "final").rules == ["TrimmedMean (trim=assumed)", "TrimmedMean (trim=actual)"]


def test_unfinished_and_diverged_runs_are_marked_and_the_marks_explained(tmp_path: Path) -> None:
    clean = make_run(tmp_path / "c", scenario(), rounds=20, status="interrupted")
    attacked = make_run(tmp_path / "a", scenario(attack=tailored()), diverged_at=30, status="diverged")
    table = accuracy_table(trials([clean, attacked]), "final")
    assert table.rows[0][3].endswith("†") and table.rows[0][4] == "1.6‡"
    assert [note[0] for note in table.notes] == ["†", "‡"]


def test_html_and_markdown_hold_every_cell(tmp_path: Path) -> None:
    table = accuracy_table(trials(table_two(tmp_path)), "best")
    for cell in {cell for row in table.rows for cell in row}:
        assert cell in to_html(table) and cell in to_markdown(table)
    assert "best evaluation, chosen on the test set" in to_markdown(table)
