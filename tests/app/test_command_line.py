"""What the command line says of itself, and what its reports are called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

import raysplit
from raysplit.analysis.report.variant import report_name
from raysplit.app.cli import app, main
from raysplit.app.frontier import command as _  # noqa: F401 (its imports make choices of their own)
from raysplit.app.running import engine_choice
from raysplit.app.running.engine_choice import EngineChoice
from tests.errors.making import TINY


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
    [("raysplit s", ["sweep", "submit"]), ("raysplit run --eng", ["--engine"]), ("raysplit run --engine l", ["local"])],
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


@pytest.mark.parametrize("command", ["run", "sweep", "frontier", "resume", "submit"])
def test_every_option_of_where_to_run_is_handed_on(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is taken and forgotten would be silent."""
    given = {"hosts": 3, "servers": 2, "placement": "pooled", "gpus-per-host": 0.5, "shards": 4, "deadline": 7.0}
    if command != "submit":  # there it is a dashboard's
        given["address"] = "auto"
    known = {name for parameter in typer.main.get_command(app).commands[command].params for name in parameter.opts}
    taken = {name: value for name, value in given.items() if f"--{name}" in known}
    assert taken.keys() >= given.keys() - {"shards"}
    chosen = []

    class Chosen(Exception):
        pass

    def choice(*fields: Any, **named: Any) -> None:
        chosen.append(EngineChoice(*fields, **named))
        raise Chosen

    monkeypatch.setattr(engine_choice, "EngineChoice", choice)
    file = tmp_path / "tiny.py"
    file.write_text(TINY)
    options = [word for name, value in taken.items() for word in (f"--{name}", str(value))]
    address = ["--address", "http://127.0.0.1:1"] if command == "submit" else []
    ended = CliRunner().invoke(app, [command, str(file), *options, *address])
    assert isinstance(ended.exception, Chosen), ended.output
    assert {name: getattr(chosen[0], name.replace("-", "_")) for name in taken} == taken
