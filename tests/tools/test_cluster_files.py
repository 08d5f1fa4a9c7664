"""What is in tools/cluster is well formed, and names only commands, options and files that there are. No cloud is asked."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import ray
import typer.main
import yaml
from ray.scripts.scripts import cli as ray_cli

from raysplit.app.cli import app

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tools" / "cluster"
LAUNCHERS = ["aws.yaml", "gcp.yaml"]
SCHEMA = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
COMMANDS = {"ray": ray_cli, "raysplit": typer.main.get_command(app)}


def launcher(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


def rayjob() -> tuple[dict[str, Any], dict[str, Any]]:
    volume, job = yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text())
    return volume, job


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_file_fits_rays_own_schema(name: str) -> None:
    config = launcher(name)
    jsonschema.validate(config, SCHEMA)
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}, "clients stay off the head"
    workers = {kind: node for kind, node in types.items() if kind != config["head_node_type"]}
    assert all(node["min_workers"] == node["max_workers"] for node in workers.values()), "hosts are laid out once"
    assert sum(node["max_workers"] for node in workers.values()) == config["max_workers"]


def test_the_schema_refuses_what_it_does_not_know() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(launcher("aws.yaml") | {"setup_command": []}, SCHEMA)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_nobody_gets_into_a_launched_cluster_without_its_token(name: str) -> None:
    config = launcher(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in line for line in config["setup_commands"])
    assert any("RAY_AUTH_MODE=token" in line for line in config["setup_commands"])
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


def test_the_image_and_the_job_are_of_the_ray_that_is_pinned() -> None:
    pinned = re.search(r"^ray(?:\[\w+\])?==(\S+)", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    _, job = rayjob()
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]
    assert f"FROM rayproject/ray:{pinned[1]}-py311" in (FOLDER / "Dockerfile").read_text()


def test_the_job_on_kubernetes_keeps_its_runs_and_asks_for_a_token() -> None:
    volume, job = rayjob()
    spec = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"], spec["authOptions"]) == ("ray.io/v1", "RayJob", {"mode": "token"})
    head = spec["headGroupSpec"]["template"]["spec"]
    claims = {one["persistentVolumeClaim"]["claimName"] for one in head["volumes"] if "persistentVolumeClaim" in one}
    assert claims == {volume["metadata"]["name"]}
    declared = {one["name"] for one in head["volumes"]}
    mounted = {mount["name"]: mount["mountPath"] for one in head["containers"] for mount in one["volumeMounts"]}
    assert mounted.keys() == declared and set(mounted.values()) <= {"/runs", "/scenario"}
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        for container in group["template"]["spec"]["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]


@pytest.mark.parametrize("name", [*LAUNCHERS, "rayjob.yaml", "slurm.sh"])
def test_commands_parse_and_have_the_options_that_they_are_given(name: str) -> None:
    lines = list(shell_lines(name))
    found = 0
    for line in lines:
        checked = subprocess.run(["bash", "-n"], input=line, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr
        found += check_options(line)
    assert found >= 1


def shell_lines(name: str) -> Iterator[str]:
    """What a shell runs, and the commands that the comments tell people to type."""
    text = (FOLDER / name).read_text()
    yield from re.findall(r"^# {5}((?:ray|raysplit) .*?)(?:  +#.*)?$", text, re.M)
    if name.endswith(".sh"):
        yield text
    elif name == "rayjob.yaml":
        yield rayjob()[1]["spec"]["entrypoint"]
    else:
        for key, commands in launcher(name).items():
            if key.endswith("_commands"):
                yield from commands


def check_options(line: str) -> int:
    """Every ``ray`` and ``raysplit`` command in a text, whose options must be its own; how many there are."""
    code = re.sub(r"(?<!\S)#.*", "", line).replace("\\\n", " ")
    commands = re.findall(r"(?:^|[;&|\s])((?:raysplit|ray) [a-z-]+(?: [^;&|\n]*)?)", code)
    count = 0
    for text in commands:
        words = shlex.split(text.replace("<<", ""))
        group = COMMANDS[words[0]]
        command = group.get_command(click.Context(group), words[1])
        assert command is not None, f"{words[0]} has no command {words[1]!r}"
        own = words[2 : words.index("--")] if "--" in words else words[2:]
        known = {name for parameter in command.params for name in parameter.opts}
        if words[1] == "symmetric-run":  # it hands options on to ``ray start``
            start = ray_cli.get_command(click.Context(ray_cli), "start")
            known |= {name for parameter in start.params for name in parameter.opts}
            count += check_options(" ".join(words[words.index("--") + 1 :]))
        for word in own:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{' '.join(words[:2])} has no option {word!r}"
        count += 1
    return count


def test_an_option_that_is_none_is_seen() -> None:
    with pytest.raises(AssertionError, match="has no option '--hosst'"):
        check_options("raysplit run a.py --hosst 3")
    with pytest.raises(AssertionError, match="has no command 'sumbit'"):
        check_options("x; raysplit sumbit a.py")
    assert check_options("srun ray symmetric-run --address a --num-cpus 2 -- raysplit sweep a.py --out runs") == 2


@pytest.mark.parametrize("name", [*LAUNCHERS, "rayjob.yaml", "slurm.sh", "Dockerfile"])
def test_files_of_the_project_that_are_named_are_there(name: str) -> None:
    text = (FOLDER / name).read_text()
    for path in re.findall(r"(?<![\w/.~])((?:tools|scenarios|docs)/[\w./-]+\.\w+)", text):
        assert (ROOT / path).exists(), path


def test_a_slurm_jobs_directives_come_before_its_first_command() -> None:
    lines = (FOLDER / "slurm.sh").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives and max(directives) < first


def test_a_slurm_job_starts_one_ray_a_node_with_what_slurm_gave_it(tmp_path: Path) -> None:
    """With stand-ins for Slurm's and Ray's commands: what would run, with which arguments."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, body in {
        "scontrol": "printf 'n1\\nn2\\n'",
        "hostname": "echo '10.0.0.1 fe80::1'",
        "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
        "ray": 'echo "$RAY_AUTH_MODE ${#RAY_AUTH_TOKEN} $*"',
    }.items():
        (stand_ins / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (stand_ins / name).chmod(0o755)
    activate = tmp_path / "venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text("")
    given = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "16"}
    env = os.environ | given | {"RAYSPLIT_VENV": str(tmp_path / "venv"), "PATH": f"{stand_ins}:{os.environ['PATH']}"}
    ran = subprocess.run(["bash", str(FOLDER / "slurm.sh"), "a b.py"], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == shlex.split(
        "token 64 symmetric-run --address 10.0.0.1:6379 --min-nodes 2 --num-cpus 16 --num-gpus 0 -- "
        "raysplit sweep a b.py --address auto --out runs"
    )
    refused = subprocess.run(["bash", str(FOLDER / "slurm.sh")], env=env, capture_output=True, text=True)
    assert refused.returncode != 0 and "give the scenario file" in refused.stderr
