"""``tools/server_drift.py``: the steps that it takes down are those of the round, and ε is in them as under SGD it must be."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

import raysplit
from raysplit import GanAttack, Sgd, SplitFedV2
from raysplit.analysis.runs.trained import read_trained
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import newest_checkpoint, read_checkpoint
from raysplit.storage.run_folder import RunFolder
from raysplit.training.parties import ServerSlot
from tests.toys import toy


@pytest.fixture(scope="module")
def drift():
    path = Path(__file__).parents[3] / "tools" / "server_drift.py"
    spec = importlib.util.spec_from_file_location("server_drift", path)
    module = sys.modules["server_drift"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["server_drift"]


def test_under_sgd_an_adversarial_step_is_epsilon_times_as_long(drift, tmp_path):
    plain = ServerSlot.step
    attack = GanAttack(target=1, epsilon=0.1, latent=6, width=2)
    changes = {"clients": 3, "cohort__malicious": 0.34, "training__optimizer": Sgd(), "training__local_epochs": 4}
    scenario = toy(
        SplitFedV2(u_shaped=True),
        cut="V1",
        tail="fc1",
        attack=attack,
        training__rounds=1,
        checkpoint_every=1,
        **changes,
    )
    run = raysplit.run(scenario, engine="local", out=tmp_path, keep_state=True)
    assert read_trained(run.path, scenario).state.round == 1
    state = read_checkpoint(newest_checkpoint(RunFolder(run.path).checkpoints), Layout(scenario), scenario.hash)
    found = {epsilon: drift.next_round(scenario, state, epsilon) for epsilon in (1.0, 1e-3)}
    clients = run.clients.to_pydict()
    steps = {
        bad: sum(s for s, m in zip(clients["steps"], clients["malicious"], strict=True) if m == bad) for bad in (0, 1)
    }
    for kinds in found.values():
        assert len(kinds["honest"]) == steps[0]
        assert len(kinds["poisoning"]) + len(kinds["adversarial"]) == steps[1] and len(kinds["adversarial"]) > 0
    ratio = found[1e-3]["adversarial"][0] / found[1.0]["adversarial"][0]
    assert ratio == pytest.approx(1e-3, rel=1e-2)
    assert ServerSlot.step is plain and all(torch.tensor(kinds["honest"]).gt(0).all() for kinds in found.values())
