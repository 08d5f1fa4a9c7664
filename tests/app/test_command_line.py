"""What the command line says of itself, and what its reports are called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import raysplit
from raysplit.analysis.report.variant import report_name
from raysplit.app.cli import app, main


def said(*arguments: str, **environment: str) -> str:
    """Standard output of ``raysplit ARGUMENTS``, which must end well."""
    ended = CliRunner().invoke(app, list(arguments), prog_name="raysplit", env={"COLUMNS": "80", **environment})
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return ended.output


def test_without_a_command_there_is_help() -> None:
    assert said() == said("--help") and "Usage: raysplit" in said() and "sweep" in said()
    assert said("data") == said("data", "--help") and "prepare" in said("data")


def test_help_of_a_command_breaks_lines_only_where_they_are_full() -> None:
    for line in said().splitlines():
        text = line.strip("│ ")
        assert len(text.split()) != 1 or text.endswith((".", "─╯", "─╮")), line


def test_the_version_names_what_bits_depend_on() -> None:
    text = said("--version")
    assert text.startswith(f"raysplit {raysplit.__version__} (Python 3.") and "torch 2." in text and "ray 2." in text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("raysplit s", ["sweep"]), ("raysplit run --eng", ["--engine"]), ("raysplit run --engine l", ["local"])],
)
def test_a_shell_can_complete_commands_options_and_choices(typed: str, offered: list[str]) -> None:
    last = str(typed.count(" "))
    assert "--install-completion" in said()
    assert said(_RAYSPLIT_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=last).split() == offered


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run"], "Missing argument 'file'. See 'raysplit run --help'."),
        (["data", "info"], "Missing argument 'path'. See 'raysplit data info --help'."),
        (["swep"], "No such command 'swep'. Did you mean 'sweep'? See 'raysplit --help'."),
    ],
)
def test_a_slip_names_the_help_of_the_command(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["raysplit", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2 and capsys.readouterr().err == f"raysplit: {sentence}\n"


def test_reports_of_variants_do_not_take_one_anothers_place() -> None:
    file = Path("scenarios/quickstart.py")
    assert report_name(file, [], None) == "quickstart"
    assert report_name(file, ["training.lr=0.1"], None) == "quickstart-training.lr=0.1"
    assert report_name(file, [], ["quickstart-clean"]) == "quickstart-only-quickstart-clean"
    assert report_name(file, ["seed=1", "training.lr=0.1"], None) == report_name(
        file, ["training.lr = 0.1", "seed=1"], None
    )
    variants = [
        ([], ["*-clean"]),
        ([], ["?-clean"]),
        (["attack=SignFlip(scale=1.0)"], None),
        (["attack=SignFlip[scale=1.0]"], None),
        *(([f"population.path={'/very/long' * 30}/{last}"], None) for last in "ab"),
    ]
    names = [report_name(file, sets, only) for sets, only in variants]
    assert len(set(names)) == len(names)
    assert all(len(name) < 130 and "/" not in name and "*" not in name for name in names)
