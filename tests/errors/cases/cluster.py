"""Hosts, servers, shards, GPUs and addresses."""

from __future__ import annotations

from pathlib import Path

from tests.errors.making import CASES, TINY, edited, optioned, scenario

optioned("hosts-zero", "--hosts", "0", engine="ray")
optioned("servers-zero", "--servers", "0", engine="ray")
optioned("deadline-zero", "--deadline", "0", engine="ray")
optioned("gpus-negative", "--gpus-per-host", "-1", engine="ray")
optioned("gpus-missing", "--gpus-per-host", "1", engine="ray")
optioned("hosts-local", "--hosts", "2")
optioned("shards-range", "--shards", "17")
edited("shards-nothing", "SplitFedV2()", "SplitFedV3()", "--shards", "4")
optioned("shards-record", "--shards", "4", "--set", "record_updates_every=1")
edited("shards-rule", "SplitFedV2()", "SplitFedV2(), defense=FoolsGold()", "--shards", "4")
edited(
    "shards-rehearsal",
    "SplitFedV2()",
    "SplitFedV2(), defense=Krum(f=0), attack=OptimalLittleIsEnough()",
    "--shards",
    "4",
)
optioned("address-form", "--address", "cluster", engine="ray")
optioned("address-silent", "--address", "127.0.0.1:1", engine="ray")
CASES["placement-uncut"] = lambda here: scenario(
    here, TINY.replace("SplitFedV2()", "FedAvg()"), "--placement", "pooled", engine="ray"
)


def submitted(here: Path, *options: str) -> list[str]:
    (here / "tiny.py").write_text(TINY)
    return ["submit", "tiny.py", *options]


CASES["dashboard-form"] = lambda here: submitted(here, "--address", "head:6379")
CASES["dashboard-silent"] = lambda here: submitted(here, "--address", "http://127.0.0.1:1")
CASES["submit-store"] = lambda here: submitted(here, "--address", "http://127.0.0.1:1", "--store", "jobs")
