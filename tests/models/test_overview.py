"""``raysplit model``: the table, its JSON, and every mistake in one sentence."""

import json
import sys

import pytest

from raysplit.app.cli import main
from raysplit.models.femnist_cnn import femnist_cnn
from raysplit.models.overview import cut_facts, maker_names


def command(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["raysplit", "model", *arguments])
    code = 0
    try:
        main()
    except SystemExit as leave:
        code = int(leave.code or 0)
    return code, *capfd.readouterr()


def test_rows_add_up():
    rows = cut_facts(femnist_cnn())
    assert [row.parameters for row in rows] == [416, 13_248, 816_576, 848_382]
    assert [row.names for row in rows] == [("V1",), ("V2",), ("V3",), ()]
    assert [row.smashed_bytes for row in rows] == [4 * 3136, 4 * 1568, 4 * 512, 4 * 62]
    assert rows[-1].parameter_share == rows[-1].flop_share == 1
    assert rows[1].parameter_share == 13_248 / 848_382
    assert rows[1].flops == rows[0].flops + rows[1].stage.flops


def test_the_table_shows_every_stage(monkeypatch, capfd):
    code, out, err = command(monkeypatch, capfd, "femnist_cnn", "--cut", "V1")
    assert (code, err) == (0, "")
    assert "femnist_cnn: 848,382 parameters" in out
    for text in ("conv1", "conv2", "fc1", "fc2", "16×14×14", "816,576", "96.3", "12,544"):
        assert text in out


def test_json_is_one_object(monkeypatch, capfd):
    code, out, err = command(
        monkeypatch, capfd, "resnet18", "--json", "--set", "classes=3", "--set", "input_shape=(1,32,32)"
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["input_shape"] == [1, 32, 32] and told["classes"] == 3 and told["cut"] == "block1"
    first = told["stages"][1]
    assert first["stage"] == "block1" and first["cuts"] == ["layer3"] and first["shape"] == [64, 8, 8]
    assert first["smashed_floats"] * 4 == first["smashed_bytes"] == 4 * 64 * 64
    assert first["client_buffers"] == 128 * 3


def test_a_model_with_arguments_of_its_own(monkeypatch, capfd):
    sets = [text for pair in ("nodes=9", "labels=2", "classes=2", "layers=2") for text in ("--set", pair)]
    code, out, _ = command(monkeypatch, capfd, "gin", "--cut", "layer1", *sets)
    assert code == 0 and "gin1" in out and "gin2" not in out


@pytest.mark.parametrize(
    "arguments,sentence",
    [
        (["femnist_cn"], "there is no model 'femnist_cn'; did you mean 'femnist_cnn'?"),
        (["Scenario"], "there is no model 'Scenario'; "),
        (["sequential"], "there is no model 'sequential'; "),
        (["alexnet", "--cut", "V4"], "AlexNet has no cut 'V4'; did you mean 'V"),
        (["alexnet", "--cut", "fc"], "AlexNet(cut='fc') leaves the server no stage; cut earlier"),
        (["lenet", "--set", "clases=3"], "lenet has no option 'clases'; did you mean 'classes'?"),
        (["lenet", "--set", "classes"], "--set 'classes' is not of the form name=value, such as classes=10"),
        (["lenet", "--set", "classes=many"], "LeNet.classes must be a whole number, but it is 'many' (str)"),
        (["gin"], "gin needs --set nodes=…, --set labels=…, --set classes=…"),
        (["torchvision_model", "--set", "name=resnet81"], "torchvision has no classification model 'resnet81'"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_two(monkeypatch, capfd, arguments, sentence):
    code, out, err = command(monkeypatch, capfd, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"raysplit: {sentence}") and err.count("\n") == 1


def test_the_makers_are_those_of_raysplit():
    assert {"femnist_cnn", "alexnet", "gin", "torchvision_model", "unsplit_cifar", "vgg16"} <= set(maker_names())
    assert "sequential" not in maker_names() and "AlexNet" not in maker_names()
