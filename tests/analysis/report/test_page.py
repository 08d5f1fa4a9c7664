from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from raysplit.analysis.report import trials, write_report
from raysplit.analysis.report.canvas import png, svg
from raysplit.analysis.report.drops import drop_by_cut, drop_by_malicious, panels_by_cut, panels_by_malicious
from raysplit.analysis.report.page import page
from raysplit.analysis.report.pairs import names
from raysplit.analysis.report.plots import accuracy_over_rounds, first_attacked_round
from raysplit.analysis.runs.run import open_run
from raysplit.errors import RunError
from tests.analysis.report.made_up import START, TRIMMED_MEAN, make_run, pair, scenario, table_two, tailored

VOID = {"meta", "img", "source", "br", "link", "input", "hr"}


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.ids: set[str] = set()
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {given["id"]} if given.get("id") else set()  # type: ignore[arg-type]
        if (given.get("href") or "").startswith("#"):
            self.targets.add((given["href"] or "")[1:])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Balanced:
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_the_page_is_well_formed_and_needs_nothing_else(tmp_path: Path) -> None:
    path = write_report(pair(tmp_path / "runs"), tmp_path / "out")
    assert path == tmp_path / "out" / "report.html"
    text = path.read_text(encoding="utf-8")
    parser = read(text)
    assert parser.targets <= parser.ids
    outside = re.findall(r'(?:src|srcset|href)="(?!data:|#)[^"]*"|url\(|@import|<script|<link', text)
    assert outside == []


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    assert page(runs) == page(runs)


def test_the_page_says_what_a_reader_must_know(tmp_path: Path) -> None:
    words = " ".join(read(page(pair(tmp_path))).text)
    for said in (
        "Final accuracy", "Best accuracy", "chosen on the test set", "Adversary sees", "full", "12 to 25 a round", "from round 12 on",
        "sha256:4fd0c1", "cut_gradients", "2.90 GB", "9 (22.5 %)", "SplitFedV2", "AMD EPYC", "perturbation", "updates",
    ):  # fmt: skip
        assert said in words, said


def test_the_page_shows_balanced_accuracy_and_each_class_where_classes_are_few(tmp_path: Path) -> None:
    few = " ".join(read(page([make_run(tmp_path / "few", scenario(), top=1.0, rounds=40, classes=5)])).text)
    last = 100 * open_run(tmp_path / "few").evaluations.column("accuracy").to_pylist()[-1]
    assert f"Balanced accuracy {last * 3 / 4:.1f}" in few and f"macro-F1 {last * 3 / 8:.1f}" in few
    assert f"Accuracy by class 0: 0.0, 1: {last:.1f}, 2: {last:.1f}, 3: {last:.1f}, 4: –" in few
    many = " ".join(read(page([make_run(tmp_path / "many", scenario(), classes=62)])).text)
    assert "Balanced accuracy" in many and "Accuracy by class" not in many
    before = " ".join(read(page([make_run(tmp_path / "before", scenario())])).text)
    assert "Balanced" not in before


def test_made_up_data_is_announced_and_real_data_is_not(tmp_path: Path) -> None:
    real = make_run(tmp_path / "real", scenario(), rounds=4)
    by_record = make_run(tmp_path / "record", scenario(name="s"), rounds=4, synthetic=True)
    by_type = make_run(tmp_path / "type", scenario(population={"type": "SyntheticWriters"}), rounds=4)
    (by_type.path / "run.json").unlink()
    assert "Synthetic data." not in page([real])
    assert "All runs here train on a made-up population" in page([by_record])
    assert "s trains on a made-up population" in page([real, by_record])

    assert "All runs here train on a made-up population" in page([open_run(by_type.path)])


def test_what_a_stranger_wrote_into_a_run_stays_text(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    attack = {"type": evil, "start_round": 12}
    run = make_run(tmp_path, scenario(name=evil, attack=attack, defense={"type": evil}), rounds=14)
    text = page([run])
    assert "<script" not in text and "<img src=x" not in text
    read(text)


def test_a_run_before_its_first_round_has_a_page(tmp_path: Path) -> None:
    text = page([make_run(tmp_path, scenario(attack=tailored()), rounds=0, status="running")])
    assert "Unfinished." in text and "Nothing was aggregated." in text
    read(text)


def test_a_long_run_is_thinned_and_the_page_says_so(tmp_path: Path) -> None:
    text = page([make_run(tmp_path, scenario(), rounds=600)])
    assert "One round in 3; all 600 are in metrics/rounds.arrow." in text


def test_no_runs_and_no_room_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a report needs at least one run"):
        write_report([], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_report([make_run(tmp_path / "run", scenario(), rounds=2)], tmp_path / "file" / "report.html")


def test_the_poisoning_is_marked_where_it_starts(tmp_path: Path) -> None:
    (trial,) = trials(pair(tmp_path))
    assert first_attacked_round(trial.attacked) == START and first_attacked_round(trial.clean) is None
    figure = accuracy_over_rounds(trial)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "poisoning starts, round 12" in words
    assert [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 2] == [START]  # type: ignore[index,arg-type]
    assert png(figure).startswith(b"\x89PNG") and svg(figure).startswith(b"<?xml")


def test_bars_by_cut_stand_beside_the_federated_baseline(tmp_path: Path) -> None:
    found = trials(table_two(tmp_path))
    (panels,) = panels_by_cut(found, "final").values()
    assert [panel.title for panel in panels] == ["TrimmedMean, AgrTailored", "Median, AgrTailored"]
    figure = drop_by_cut(panels)
    assert len(figure.axes) == 2 and len(figure.axes[0].patches) == 3
    (baseline,) = panels[0].baseline[""]
    assert any(line.get_linestyle() == "--" and line.get_ydata()[0] == baseline for line in figure.axes[0].lines)  # type: ignore[index]


def test_one_cut_alone_gives_no_bars(tmp_path: Path) -> None:
    assert panels_by_cut(trials(pair(tmp_path)), "final") == {}


def test_federated_runs_alone_give_no_bars_and_a_page(tmp_path: Path) -> None:
    runs = pair(tmp_path, protocol={"type": "FedAvg"})
    assert panels_by_cut(trials(runs), "final") == {}
    assert "FedAvg" in write_report(runs, tmp_path / "report.html").read_text()


def test_shares_of_malicious_clients_give_a_line(tmp_path: Path) -> None:
    runs = [
        run
        for share in (0.1, 0.2)
        for run in pair(tmp_path / str(share), drop=share, cohort={"type": "Cohort", "size": 100, "malicious": share})
    ]
    (panels,) = panels_by_malicious(trials(runs), "final").values()
    assert list(panels[0].drops["SplitFedV2 V2"]) == ["10", "20"]
    assert png(drop_by_malicious(panels)).startswith(b"\x89PNG")
    assert panels_by_malicious(trials(runs[:2]), "final") == {}


def test_matplotlib_is_imported_only_when_a_picture_is_drawn() -> None:
    code = "import sys, raysplit.analysis.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_splits_that_are_attacked_from_other_rounds_on_stand_in_one_panel(tmp_path: Path) -> None:
    runs = [
        run
        for cut, start in (("V1", 10), ("V2", START))
        for run in pair(
            tmp_path / cut,
            name=f"late-{cut}",
            model={"type": "FemnistCnn", "cut": cut, "tail": None},
            attack=tailored(start_round=start),
            defense={"type": "StartAtRound", "rule": TRIMMED_MEAN, "start_round": start},
        )
    ]
    ((panel,),) = panels_by_cut(trials(runs), "final").values()
    assert panel.title == "TrimmedMean, AgrTailored" and set(panel.drops["SplitFedV2"]) == {"V1", "V2"}


def test_attacks_that_differ_by_their_start_alone_are_told_apart(tmp_path: Path) -> None:
    _, attacked = pair(tmp_path / "one")
    later = make_run(tmp_path / "later", scenario(attack=tailored(start_round=20)), drop=0.1)
    titles = names([run.scenario["attack"] for run in (attacked, later)], ["here", "here"])
    assert titles == ["AgrTailored (start_round=12)", "AgrTailored (start_round=20)"]
    assert names([run.scenario["attack"] for run in (attacked, later)], ["here", "there"]) == ["AgrTailored"] * 2


def test_where_nobody_is_malicious_the_line_of_figure_4_begins_without_a_drop(tmp_path: Path) -> None:
    def cohort(share: float) -> dict[str, object]:
        return {"type": "Cohort", "size": 100, "malicious": share}

    runs = [run for share in (0.1, 0.3) for run in pair(tmp_path / str(share), drop=share, cohort=cohort(share))]
    nobody = make_run(tmp_path / "nobody", scenario(cohort=cohort(0.0)), top=0.6)
    ((panel,),) = panels_by_malicious(trials([*runs, nobody]), "final").values()
    (line,) = panel.drops.values()
    assert list(line) == ["10", "0", "30"] and line["0"] == [0.0] and line["30"][0] > line["10"][0] > 5
    ((panel,),) = panels_by_malicious(trials([*runs, nobody]), "final", "accuracy").values()
    (line,) = panel.drops.values()
    assert line["0"] == [100 * nobody.summary().final] and panel.shows == "accuracy under attack (%)"
    assert len(svg(drop_by_malicious([panel]))) > 1000
