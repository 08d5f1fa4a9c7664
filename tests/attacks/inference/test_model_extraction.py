"""Model extraction: a dense server portion is found exactly; equal to a loop that is written out here; what a client asks
is what it would be answered next."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import raysplit
from raysplit import (
    Adversary,
    ModelExtraction,
    ParallelSl,
    Sgd,
    SplitFedV2,
)
from raysplit.analysis.inference.infer import infer_trained
from raysplit.analysis.inference.replay import observe_round
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.attacks.inference.inference_attack import Knowledge, Observed, check_adversary
from raysplit.attacks.inference.observe import Observe
from raysplit.attacks.inference.target import AskedServer, Target
from raysplit.channels.channel import Channel
from raysplit.contracts import DefenseView, GradientDefense, part
from raysplit.errors import RunError, ScenarioError
from raysplit.storage.run_folder import RunFolder
from tests.toys import toy

CLASSES = 3


def dense(seed: int, *widths: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*(one for layer in layers for one in (layer, nn.ReLU())))[:-1].double()


def asked(server: nn.Module, budget: int = 1000) -> Target:
    def cut_gradients(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        leaf = z.detach().requires_grad_()
        return torch.autograd.grad(functional.cross_entropy(server(leaf), y, reduction="sum"), [leaf])[0]

    widths = [layer.in_features for layer in server if isinstance(layer, nn.Linear)]
    known = AskedServer(lambda index: dense(7 + index, *widths, CLASSES), server, cut_gradients)
    return Target(1, (1, 8, 8), CLASSES, 0.0, 1.0, None, None, None, query_budget=budget, server=known)


def own(attack: ModelExtraction, target: Target, n: int, floats: int) -> Observed:
    """Of n samples in one batch, whose gradients carry 1/n."""
    torch.manual_seed(3)
    z, y = torch.randn(n, floats).double(), torch.randint(CLASSES, (n,))
    messages = {Channel.SMASHED: z, Channel.CUT_GRADIENTS: target.server.cut_gradients(z, y) / n}
    return Observed(attack, messages, torch.zeros(n, dtype=torch.int64), torch.full((n,), n), y)


def test_one_dense_layer_is_found_to_a_millionth_up_to_what_no_gradient_shows():
    server = dense(1, 4, CLASSES)
    target = asked(server)
    attack = ModelExtraction(own_data_weight=0.0, lr=0.1, steps=300, batch_size=36)
    found = attack.infer(own(attack, target, 12, 4), Knowledge(attack, target))
    true, stolen = server[0], found.surrogate[0]
    for one, other in ((true.weight, stolen.weight), (true.bias, stolen.bias)):
        assert torch.allclose(one - one.mean(0), other - other.mean(0), atol=1e-6, rtol=0)
    assert found.queries == 12 * (CLASSES - 1)
    torch.manual_seed(4)
    z = torch.randn(50, 4).double()
    assert torch.allclose(found.surrogate(z).softmax(1), server(z).softmax(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "form, labels", [("gradient_matching", "all"), ("gradient_matching", "sent"), ("own_data", "all")]
)
def test_it_equals_its_loss_written_out(form, labels):
    attack = ModelExtraction(form=form, labels=labels, own_data_weight=0.5, steps=4, batch_size=6, lr=0.01)
    server = dense(1, 5, 6, CLASSES)
    target = asked(server)
    seen = own(attack, target, 8, 5)
    found = attack.infer(seen, Knowledge(attack, target))

    z, true = seen.on(Channel.SMASHED), seen.labels()
    pairs = [(i, int(true[i])) for i in range(8)]
    if form == "gradient_matching" and labels == "all":
        pairs += [(i, label) for i in range(8) for label in range(CLASSES) if label != true[i]]
    answers = [target.server.cut_gradients(z[i : i + 1], torch.tensor([label]))[0] for i, label in pairs]
    scale = sum(float(answer.square().sum()) for answer in answers) / len(answers)
    surrogate = dense(7, 5, 6, CLASSES)
    optimizer = torch.optim.Adam(surrogate.parameters(), lr=0.01)
    draw = Knowledge(attack, target).generator("batches")
    for step in range(4):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * step / 4)) / 2
        loss = 0
        rows = torch.randint(len(pairs), (6,), generator=draw).tolist()
        for row in rows:
            i, label = pairs[row]
            leaf = z[i].clone().requires_grad_()
            logits = surrogate(leaf)
            weight = 1.0 if form == "own_data" else 0.5
            loss = loss + weight * functional.cross_entropy(logits, true[i]) / 6
            if form == "gradient_matching":
                error = functional.cross_entropy(logits, torch.tensor(label))
                (gradient,) = torch.autograd.grad(error, [leaf], create_graph=True)
                loss = loss + (gradient - answers[row]).square().sum() / scale / 6
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for one, other in zip(surrogate.parameters(), found.surrogate.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-9)


def ran(scenario, tmp_path) -> Trained:
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    return read_trained(run.path, scenario)


def test_a_client_is_answered_what_it_would_get_next(tmp_path):
    """The cut gradients of its one sample in the next round, which is played."""
    changes = {"clients": 1, "population__smallest": 1, "training__batch_size": 1, "training__optimizer": Sgd()}
    after_one = ran(toy(SplitFedV2(), **changes, training__rounds=1), tmp_path / "one")
    found = infer_trained(after_one, ModelExtraction(labels="sent", steps=1), None, Setup(samples=1000))
    after_two = ran(toy(SplitFedV2(), **changes, training__rounds=2), tmp_path / "two")
    noted = observe_round(RunFolder(after_two.path), after_two.scenario, Observe((2,), ("smashed", "cut_gradients")))
    first = {one.channel: one.tensors["tensor"] for one in noted.observations if one.step == 0}
    for channel in (Channel.SMASHED, Channel.CUT_GRADIENTS):
        assert torch.allclose(found.victims.messages[channel], first[channel], atol=1e-6)
    assert found.adversary == Adversary(("client",), ("server_architecture",))


@pytest.mark.parametrize("round", [None, 1])
def test_it_has_the_messages_of_one_client_and_no_other(round, tmp_path):
    trained = ran(toy(SplitFedV2()), tmp_path)
    found = infer_trained(trained, ModelExtraction(steps=1), None, Setup(round=round, samples=1000))
    client = int(found.victims.clients[0])
    assert set(found.victims.clients.tolist()) == {client}
    known = trained.scenario.population.open().train(client)
    assert sorted(found.victims.y.tolist()) == sorted(known.y.tolist()) and len(known.y) > 1
    other = infer_trained(trained, ModelExtraction(steps=1), None, Setup(round=round, client=4))
    assert set(other.victims.clients.tolist()) == {4} != {client}


def test_scores_stand_beside_own_samples_an_untrained_surrogate_and_the_true_portion(tmp_path):
    """Toys' labels are random, so only agreement with the model can be learned."""
    often = {"training__local_epochs": 10, "training__optimizer": Sgd(momentum=0.9), "training__lr": 0.05}
    trained = ran(toy(SplitFedV2(), cut="V3", clients=8, **often), tmp_path)
    found = infer_trained(trained, ModelExtraction(steps=150, lr=0.05), None, Setup(client=7))
    score = {(one.of, one.metric): one.value for one in found.scores}
    fidelity, rows = "agreement with the model", [of for of, metric in score if metric == "accuracy"]
    assert rows == ["ModelExtraction", "its own samples alone", "an untrained surrogate", "the true portion"]
    assert score["the true portion", fidelity] == 1.0 and score["ModelExtraction", fidelity] >= 0.9
    assert score["its own samples alone", fidelity] < score["ModelExtraction", fidelity]
    alone = infer_trained(trained, ModelExtraction(form="own_data", steps=150, lr=0.05), None, Setup(client=7))
    assert {one.of for one in alone.scores} == {*rows[:1], *rows[2:]}
    assert alone.scores[1].value == score["its own samples alone", fidelity]


@part
class Doubled(GradientDefense):
    """Answers with twice the gradient."""

    def sent(self, gradients: torch.Tensor, view: DefenseView) -> torch.Tensor:
        return 2 * gradients


def test_queries_meet_the_servers_defence_of_cut_gradients(tmp_path):
    for times, defenses in ((1, ()), (4, (Doubled(), Doubled()))):
        trained = ran(toy(SplitFedV2(), message_defenses=defenses), tmp_path / str(times))
        found = infer_trained(trained, ModelExtraction(steps=1))
        leaf = found.victims.messages[Channel.SMASHED].detach().requires_grad_()
        loss = functional.cross_entropy(found.target.server.portion(leaf), found.victims.y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, [leaf])
        assert torch.allclose(found.victims.messages[Channel.CUT_GRADIENTS], times * gradient)
        assert torch.allclose(found.target.server.cut_gradients(leaf, found.victims.y), times * gradient)


def test_only_a_client_extracts_and_only_where_labels_travel(tmp_path):
    with pytest.raises(ScenarioError, match="main_server has; leave it out"):
        check_adversary(ModelExtraction(), Adversary(("main_server", "client")), SplitFedV2())
    with pytest.raises(ScenarioError, match="reads 'cut_gradients', which fed_server"):
        check_adversary(ModelExtraction(), Adversary(("fed_server",), ("server_architecture",)), SplitFedV2())
    with pytest.raises(ScenarioError, match="needs to know 'server_architecture'"):
        check_adversary(ModelExtraction(), Adversary(("client",)), SplitFedV2())
    check_adversary(ModelExtraction(surrogate="perceptron"), Adversary(("client",)), SplitFedV2())
    u_shaped = ran(toy(SplitFedV2(u_shaped=True), tail="fc1"), tmp_path / "u")
    with pytest.raises(ScenarioError, match="in a U-shaped SplitFedV2 the client has the last layers"):
        infer_trained(u_shaped, ModelExtraction())
    personal = ran(toy(ParallelSl()), tmp_path / "personal")
    with pytest.raises(RunError, match="attack one client's trained model: --client 0"):
        infer_trained(personal, ModelExtraction())
    assert set(infer_trained(personal, ModelExtraction(steps=1), None, Setup(client=2)).victims.clients.tolist()) == {2}


def test_queries_have_a_budget():
    attack, target = ModelExtraction(steps=1), asked(dense(1, 4, CLASSES), budget=15)
    attack.infer(own(attack, target, 7, 4), Knowledge(attack, target))
    with pytest.raises(
        ScenarioError, match="asks the server about 16 split steps, but the budget is 15; raise --queries"
    ):
        attack.infer(own(attack, target, 8, 4), Knowledge(attack, target))
