"""``raysplit cuts``: every possible cut, and numbers that are those of a run at that cut."""

import csv
import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

from raysplit import ClusterLabels, WhiteBoxInversion
from raysplit.analysis.cuts.cuts import compare_cuts, time_step
from raysplit.analysis.cuts.leakage import leakage_at
from raysplit.analysis.report.cuts import cuts_csv, cuts_figure, cuts_table, share, write_cuts
from raysplit.app.cli import app
from raysplit.errors import ScenarioError
from raysplit.models.network import build
from raysplit.parts.part import part
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.devices import PHONE, Devices, LogNormalDevices
from raysplit.scenario.layout import Layout
from tests.toys import ToyCnn, play, toy

FILE = """\
from raysplit import *

base = Scenario(
    name="tiny",
    population=synthetic_writers(writers=20, mean_samples=30, sd_samples=5),
    model=femnist_cnn(cut="V2"),
    protocol=SplitFedV2(),
    cohort=Cohort(size=3),
    training=Training(rounds=9, lr=0.01, batch_size=8),
    evaluation=Evaluation(clients=3),
)
scenarios = grid(base, protocol={"sfl": SplitFedV2(), "fl": FedAvg()})
"""


@pytest.mark.parametrize("protocol", [SplitLearning(), SplitFedV1(), SplitFedV2()], ids=repr)
def test_every_stage_but_the_last_is_a_cut(protocol):
    table = compare_cuts(toy(protocol))
    assert [row.cut for row in table.cuts] == ["conv1", "conv2", "fc1"]
    assert [row.paper_names for row in table.cuts] == [("V1",), ("V2",), ("V3",)]
    assert [row.parameters for row in table.cuts] == [30, 142, 261]
    assert [row.parameter_share for row in table.cuts] == [30 / 301, 142 / 301, 261 / 301]
    assert [row.smashed_bytes for row in table.cuts] == [4 * 48, 4 * 16, 4 * 7]
    assert all(0 < row.flops_share < 1 and row.client_step_s > 0 and row.server_step_s > 0 for row in table.cuts)
    assert table.left_out == () and table.imagined


@pytest.mark.parametrize("protocol", [SplitLearning(), SplitFedV1(), SplitFedV2()], ids=repr)
def test_bytes_and_virtual_time_are_those_of_a_run_at_that_cut(protocol):
    scenario = toy(protocol, devices=Devices(clients=LogNormalDevices(PHONE)))
    for row in compare_cuts(scenario).cuts:
        played = play(toy(protocol, row.cut, devices=scenario.devices))
        moved = sum(played.bytes_on().values()) + sum(played.label_bytes_on().values())
        assert row.round_bytes == pytest.approx((moved - played.bytes_on().get("server_updates", 0)) / 6, rel=1e-12)
        assert row.virtual_s == played.tables["rounds"].column("virtual_s")[0].as_py()


def test_a_u_shape_is_cut_before_its_tail():
    table = compare_cuts(toy(SplitFedV2(u_shaped=True), "V1", "fc1"))
    assert [row.cut for row in table.cuts] == ["conv1", "conv2"]
    assert [row.parameters for row in table.cuts] == [30 + 40, 142 + 40]


def test_accuracy_is_that_of_a_run_of_so_many_rounds():
    scenario = toy(SplitFedV2(), evaluation__clients=None)
    trained = compare_cuts(scenario, rounds=2)
    for row in trained.cuts:
        final = play(toy(SplitFedV2(), row.cut, evaluation__clients=None)).tables["evaluations"].to_pylist()[-1]
        assert row.accuracy == final["accuracy"]
    assert all(row.accuracy is None for row in compare_cuts(scenario).cuts)


@part
class Padded(ToyCnn):
    """A stage without weights at either end, after which nothing can be cut."""

    def stages(self):
        return [("pad", nn.Identity()), *super().stages(), ("out", nn.Identity())]


def test_a_cut_that_leaves_a_party_nothing_to_train_is_left_out_and_said_so():
    table = compare_cuts(toy(SplitFedV2(), model=Padded("conv2")))
    assert [row.cut for row in table.cuts] == ["conv1", "conv2", "fc1"]
    assert dict(table.left_out) == {
        "pad": "would leave the client nothing to train",
        "fc2": "would leave the server nothing to train",
    }


def test_a_protocol_without_a_cut_is_refused():
    with pytest.raises(ScenarioError, match="FedAvg does not split the model"):
        compare_cuts(toy(FedAvg()))


def test_a_timed_step_leaves_the_weights_as_they_were():
    import torch

    scenario = toy(SplitFedV2())
    before = build(scenario.model, scenario.seed)
    client, server = time_step(scenario, torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), repeats=2)
    assert client > 0 and server > 0
    after = build(scenario.model, scenario.seed)
    assert all((a == b).all() for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_files_hold_the_table(tmp_path):
    table = compare_cuts(toy(SplitFedV1()))
    written = write_cuts(table, tmp_path / "deep" / "er")
    assert [path.name for path in written] == ["cuts.csv", "cuts.json", "cuts.png"]
    rows = list(csv.DictReader(StringIO(cuts_csv(table))))
    assert [row["cut"] for row in rows] == ["conv1", "conv2", "fc1"]
    assert [float(row["round_bytes"]) for row in rows] == [row.round_bytes for row in table.cuts]
    form = json.loads(written[1].read_text())
    assert form["cuts"][1]["parameters"] == 142 and form["devices"].startswith("defaults")
    assert written[2].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("rounds", [None, 1])
def test_the_picture_has_a_panel_a_cost_and_a_bar_a_cut(rounds):
    table = compare_cuts(toy(SplitFedV2()), rounds)
    figure = cuts_figure(table)
    assert len(figure.axes) == 4 + (rounds is not None)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["conv1 (V1)", "conv2 (V2)", "fc1 (V3)"]
    virtual = [bar.get_width() for bar in figure.axes[2].patches]
    assert virtual == pytest.approx([row.virtual_s for row in table.cuts])
    many = replace(table, cuts=table.cuts * 7)
    assert cuts_figure(many).get_size_inches()[1] > 2 * figure.get_size_inches()[1]


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.0005, "0.050"), (0.059, "5.9"), (0.9911, "99.11"), (0.99995, "99.99"), (1.0, "100.00")]
)
def test_shares_keep_the_digits_that_matter(fraction, text):
    assert share(fraction) == text


def command(tmp_path, *arguments):
    file = tmp_path / "tiny.py"
    file.write_text(FILE, encoding="utf-8")
    return CliRunner().invoke(app, ["cuts", str(file), "--out", str(tmp_path / "out"), *arguments])


def test_the_command_prints_the_table_and_writes_it(tmp_path):
    ended = command(tmp_path)
    assert ended.exit_code == 0, ended.output
    assert "tiny-sfl, the first of 2 scenarios" in ended.output and "conv2 (V2)" in ended.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cuts.csv", "cuts.json", "cuts.png"]


def test_json_is_all_that_stands_on_standard_output(tmp_path):
    ended = command(tmp_path, "--only", "tiny-sfl", "--json", "--train", "1", "--set", "cohort.size=2")
    form = json.loads(ended.stdout)
    assert form["clients"] == 2 and form["trained_rounds"] == 1
    assert [row["cut"] for row in form["cuts"]] == ["conv1", "conv2", "fc1"]
    assert all(0 <= row["accuracy"] <= 1 for row in form["cuts"])


def test_a_name_that_is_not_in_the_file_is_one_sentence(tmp_path):
    ended = command(tmp_path, "--only", "tiny-sfk")
    assert isinstance(ended.exception, ScenarioError)
    assert "has no scenario 'tiny-sfk'; did you mean 'tiny-sfl'?" in str(ended.exception)


def test_leakage_is_that_of_the_attack_on_the_model_at_each_cut(tmp_path):
    """White-box inversion of a first convolution finds the images, and less behind later stages."""
    scenario = toy(SplitFedV2(), clients=12)
    attack = WhiteBoxInversion(steps=150, lr=0.05)
    table = compare_cuts(scenario, None, attack=attack)
    found = {row.cut: row.leakage for row in table.cuts}
    assert found["conv1"].mse < found["fc1"].mse and all(
        row.guess_mse == found["conv1"].guess_mse for row in found.values()
    )
    state = Layout(scenario.replace(**{"model.cut": "conv1"})).initial()
    assert leakage_at(scenario.replace(**{"model.cut": "conv1"}), state, attack) == found["conv1"]
    shown = Console(width=200, file=StringIO())
    shown.print(cuts_table(table))
    assert f"{found['conv1'].mse:.3f}" in shown.file.getvalue() and "WhiteBoxInversion" in shown.file.getvalue()
    header, first, *_ = cuts_csv(table).splitlines()
    assert header.endswith("leakage_mse,leakage_ssim,leakage_guess_mse") and str(found["conv1"].mse) in first
    assert table.to_json()["cuts"][0]["leakage"]["mse"] == found["conv1"].mse
    with pytest.raises(ScenarioError, match="is after labels"):
        compare_cuts(scenario, None, attack=ClusterLabels())
