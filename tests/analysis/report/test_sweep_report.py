"""What a sweep's report says and draws, over made-up runs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from raysplit.analysis.report import accuracy_table, trials
from raysplit.analysis.report.canvas import DARK
from raysplit.analysis.report.drops import drop_by_cut, panels_by_cut, panels_by_malicious
from raysplit.analysis.report.page import page as run_page
from raysplit.analysis.report.pairs import differences, labels
from raysplit.analysis.report.plots import accuracy_over_rounds
from raysplit.analysis.report.sweep import RESULTS, Outcome, full_grids, grids, results
from raysplit.analysis.report.sweep_figures import shaded
from raysplit.analysis.report.sweep_page import figures_of, markdown, page, write_sweep
from raysplit.analysis.report.sweep_shares import share_table
from raysplit.analysis.report.sweep_terminal import sweep_tables
from tests.analysis.report.made_up import MEDIAN, TRIMMED_MEAN, make_run, pair, scenario

FLIP = {"type": "SignFlip", "scale": 1.0, "start_round": 12}
PRE = {"type": "Composed", "pre": [{"type": "Bucketing", "size": 2}], "rule": MEDIAN}


def swept(folder: Path, *scenarios: dict[str, Any], rounds: int = 2) -> list[Outcome]:
    runs = [make_run(folder / str(at), one, rounds=rounds, drop=0.2) for at, one in enumerate(scenarios)]
    return [Outcome(run.scenario, run.path, run, "") for run in runs]


def training(lr: float, rounds: int = 40) -> dict[str, Any]:
    return {"type": "Training", "rounds": rounds, "lr": lr, "batch_size": None, "local_epochs": 1}


def cohort(malicious: float, size: int = 100) -> dict[str, Any]:
    return {"type": "Cohort", "size": size, "malicious": malicious}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Two learning rates, two seeds, two rules, no attack and two strengths of one."""
    attacks = (None, FLIP, FLIP | {"scale": 10.0})
    cells = itertools.product((0.1, 0.01), (1, 2), (TRIMMED_MEAN, PRE), attacks)
    return swept(
        tmp_path_factory.mktemp("table"),
        *(
            scenario(name=f"s{at}", training=training(lr), seed=seed, defense=rule, attack=attack)
            for at, (lr, seed, rule, attack) in enumerate(cells)
        ),
    )


def test_every_field_in_which_scenarios_differ_is_a_column(table: list[Outcome]) -> None:
    found = results(table)
    assert found.column_names[: len(RESULTS.names)] == RESULTS.names
    assert set(found.column_names[len(RESULTS.names) :]) == {
        "training.lr", "attack.type", "attack.scale", "defense.type", "defense.trim", "defense.pre",
        "defense.rule.type", "defense.rule.middle",
    }  # fmt: skip
    assert found["training.lr"].to_pylist() == [0.1] * 12 + [0.01] * 12
    assert found["attack.scale"].to_pylist()[:3] == [None, 1.0, 10.0]
    assert found["defense.pre"].to_pylist()[2:4] == [None, "[Bucketing(size=2)]"]


def test_columns_have_the_type_of_their_values(tmp_path: Path) -> None:
    odd = [
        scenario(name=str(at), cohort=cohort(0.2, at), record=at > 1, groups=[None, at, "many"][at]) for at in range(3)
    ]
    found = results(swept(tmp_path, *odd, rounds=1))
    assert {name: str(found.schema.field(name).type) for name in found.column_names[len(RESULTS.names) :]} == {
        "cohort.size": "int64",
        "record": "bool",
        "groups": "string",
    }


def test_plus_minus_and_the_number_of_seeds_are_explained_below_each_table(table: list[Outcome]) -> None:
    note = "±: mean and standard deviation (n − 1) over 2 seeds."
    assert page("t", table[:12]).count(note) == 2 and markdown(table).count(note) == 4
    (first, *_) = sweep_tables(table)
    assert first.notes == [note] and "SplitFedV2 V2, 20 % malicious, training.lr=0.1: " in first.title
    runs = [outcome.run for outcome in table if outcome.run is not None]
    assert note in accuracy_table(trials(runs), "final").notes
    some = grids(table[:7], "final")[0]
    assert some.notes == ["±: mean and standard deviation (n − 1) over 2 seeds; cells without ± hold one."]
    assert "±" not in markdown(table[:6])


def test_scenarios_that_differ_by_their_length_alone_do_not_pass_for_seeds(tmp_path: Path) -> None:
    one = scenario(attack=FLIP)
    found = swept(tmp_path, *(one | {"name": str(n), "training": training(0.1, n)} for n in (20, 40)), rounds=2)
    both = grids(found, "final")
    assert [grid.title.rpartition(", ")[2] for grid in both] == ["training.rounds=20", "training.rounds=40"]
    assert all(len(cell.accuracies) == 1 for grid in both for cell in grid.cells.values())


def test_orders_of_one_protocol_are_tables_with_titles_of_their_own(tmp_path: Path) -> None:
    orders = [{"type": "SplitFedV2", "order": order} for order in ("interleaved", "client_major")]
    found = grids(swept(tmp_path, *(scenario(protocol=one) for one in orders), rounds=1), "final")
    assert [grid.title.partition(" V2,")[0] for grid in found] == [
        "SplitFedV2 (order=interleaved)",
        "SplitFedV2 (order=client_major)",
    ]


def test_a_setting_is_written_as_a_scenario_file_has_it() -> None:
    sizes = [PRE, PRE | {"pre": [{"type": "Bucketing", "size": 3}]}]
    assert labels(sizes) == [
        "Bucketing + Median (pre=[Bucketing(size=2)])",
        "Bucketing + Median (pre=[Bucketing(size=3)])",
    ]
    watched = {"type": "Detection", "judges": [{"type": "SafeSplit", "window": 5}], "until": None}
    parts = [{"detection": None, "wide": True}, {"detection": watched, "wide": False}]
    assert differences(parts) == [
        "detection=None, wide=True",
        "wide=False, detection=Detection(judges=[SafeSplit(window=5)])",
    ]


def test_titles_of_heat_maps_neither_overlap_nor_leave_the_picture(table: list[Outcome]) -> None:
    tables = full_grids(table, "final")
    figure = shaded([*tables, tables[0]], "drop", tables)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [axes.title.get_window_extent(renderer) for axes in figure.axes]
    assert boxes[0].x0 >= 0 and boxes[-1].x1 <= figure.bbox.x1 and boxes[0].y1 <= figure.bbox.y1
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))


def test_equal_accuracies_do_not_look_like_harm(tmp_path: Path) -> None:
    runs = [scenario(name=str(at), defense=rule, attack=FLIP) for at, rule in enumerate((MEDIAN, PRE))]
    found = full_grids(swept(tmp_path, *runs, rounds=4), "final")
    (image,) = shaded(found, "accuracy", found).axes[0].images
    assert image.norm(image.get_array()).min() > 0.9


def two_seeds(folder: Path, **changes: Any) -> list[Outcome]:
    runs = [
        run
        for seed, cut in itertools.product((1, 2), ("V1", "V2"))
        for run in pair(
            folder / f"{seed}{cut}", drop=seed / 10, seed=seed, model={"type": "FemnistCnn", "cut": cut}, **changes
        )
    ]
    return [Outcome(run.scenario, run.path, run, "") for run in runs]


def test_whiskers_have_the_colour_of_the_text_and_a_caption(tmp_path: Path) -> None:
    found = two_seeds(tmp_path)
    (panels,) = panels_by_cut(trials([outcome.run for outcome in found if outcome.run]), "final").values()
    (axes,) = drop_by_cut(panels, DARK).axes
    whiskers = [one for one in axes.collections if isinstance(one, LineCollection)]
    assert whiskers and {to_hex(colour) for one in whiskers for colour in one.get_color()} == {DARK.ink}
    ((_, _, caption, _),) = figures_of(found)
    assert caption.endswith("by cut, percentage points; whiskers: standard deviation (n − 1) over seeds.")


def test_captions_speak_of_lines_that_are_drawn(tmp_path: Path) -> None:
    found = two_seeds(tmp_path / "split")
    federated = pair(tmp_path / "fl", protocol={"type": "FedAvg"}, seed=1, model={"type": "FemnistCnn", "cut": "V1"})
    both = [*found, *(Outcome(run.scenario, run.path, run, "") for run in federated)]
    for some, drawn in ((found, False), (both, True)):
        assert ["dashed red: federated learning" in caption for _, _, caption, _ in figures_of(some)] == [drawn]


def test_what_else_was_swept_is_a_panel_and_a_row_of_its_own(tmp_path: Path) -> None:
    runs = [
        run
        for lr, share, seed in itertools.product((0.1, 0.01), (0.1, 0.3), (1, 2))
        for run in pair(
            tmp_path / f"{lr}{share}{seed}", drop=share, cohort=cohort(share), training=training(lr), seed=seed
        )
    ]
    (panels,) = panels_by_malicious(trials(runs), "final").values()
    assert [panel.title for panel in panels] == [f"TrimmedMean, AgrTailored, training.lr={lr}" for lr in (0.1, 0.01)]
    assert [len(drops) for panel in panels for drops in panel.drops["SplitFedV2 V2"].values()] == [2] * 4
    shares = share_table([Outcome(run.scenario, run.path, run, "") for run in runs], ["final"])
    assert [row[:3] for row in shares.rows] == [
        [f"SplitFedV2 V2, training.lr={lr}", "TrimmedMean, AgrTailored", share]
        for lr, share in itertools.product((0.01, 0.1), ("10", "30"))
    ]
    assert all("±" in cell for row in shares.rows for cell in row[3:]) and "2 seeds" in shares.note


def test_a_picture_has_three_panels_at_most_and_old_ones_go(tmp_path: Path) -> None:
    attacks = [FLIP | {"scale": float(scale)} for scale in range(1, 6)]
    found = swept(
        tmp_path / "runs",
        *(
            scenario(name=f"{share}{at}", attack=attack, cohort=cohort(share))
            for share in (0.1, 0.3)
            for at, attack in enumerate([None, *attacks])
        ),
    )
    names = [stem for stem, *_ in figures_of(found) if stem.startswith("malicious-drop")]
    assert names == ["malicious-drop-1", "malicious-drop-2"]
    folder = tmp_path / "report"
    folder.mkdir()
    for name in ("malicious-drop-1.png", "mine.png", "drop-zone.png"):
        (folder / name).write_bytes(b"")
    write_sweep("fewer", found[:1], folder)
    assert {path.name for path in folder.glob("*.png")} == {"mine.png", "drop-zone.png"}


@pytest.mark.parametrize("rounds", [1, 2, 4, 40])
def test_rounds_are_marked_at_whole_numbers(rounds: int, tmp_path: Path) -> None:
    (trial,) = trials([make_run(tmp_path, scenario(), rounds=rounds)])
    (axes,) = accuracy_over_rounds(trial).axes
    assert all(float(tick).is_integer() for tick in axes.get_xticks()) and len(axes.get_xticks()) >= 2


@pytest.mark.parametrize(
    ("rounds", "said", "label"),
    [
        (2, "the only evaluation", "Mean of last 1"),
        (8, "mean of all 4 evaluations, as there were no five", "Mean of last 4"),
        (10, "mean of the last five evaluations", "Mean of last 5"),
    ],
)
def test_the_mean_of_four_evaluations_does_not_pass_for_one_of_five(
    rounds: int, said: str, label: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path, scenario(), rounds=rounds)
    assert accuracy_table(trials([run]), "last5").meaning == said
    text = run_page([run])
    assert f"Late accuracy: {said}</h3>" in text and f"<dt>{label}</dt>" in text
