"""Data attacks where they are carried out: by the hosts, on malicious clients' sets alone, when the batches are
drawn."""

import pytest
import torch

from raysplit import (
    AsyncSplitFed,
    BufferedSplitFed,
    Centralized,
    Cohort,
    CompositeAttack,
    CycleSfl,
    FarthestLabelFlip,
    FedAvg,
    LabelFlip,
    Mean,
    ModelReplacement,
    NormClipping,
    PixelBackdoor,
    Scheduled,
    SplitFedV1,
    SplitFedV2,
    SplitFedV3,
    SplitLearning,
    TargetedLabelFlip,
)
from raysplit.attacks.data.data_attack import DataAttack
from raysplit.engine.host import Host
from raysplit.errors import ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.parts.part import part
from raysplit.population.population import Samples
from raysplit.population.selection.cohort import ParticipationSampler
from raysplit.protocols.buffered import Speeds
from raysplit.simulation.planning import make_plan
from raysplit.training.failures import ClientFailure
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy

BACKDOOR = PixelBackdoor(target=1)
PROTOCOLS = [
    FedAvg(),
    Centralized(),
    SplitLearning(),
    SplitLearning(u_shaped=True),
    SplitFedV1(),
    SplitFedV2(),
    SplitFedV2(u_shaped=True),
    SplitFedV3(),
    CycleSfl(),
    AsyncSplitFed(threshold=0.05),
    BufferedSplitFed(buffer=3, speeds=Speeds(0.5)),
]


def scenario(protocol, **changes):
    return toy(protocol, "V1", "fc1", **{"cohort": Cohort(6, 0.5), "training__rounds": 3, **changes})


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=repr)
def test_every_protocol_trains_on_poisoned_data_and_says_how_much(protocol):
    clean = play(scenario(protocol))
    played = play(scenario(protocol, attack=CompositeAttack((BACKDOOR, FarthestLabelFlip(0.5)))))
    rows = played.tables["attacks"].to_pylist()
    assert played.digest != clean.digest and not clean.tables["attacks"].num_rows
    assert {row["attack"] for row in rows} == {"PixelBackdoor", "FarthestLabelFlip"}
    assert all(1 <= row["m"] <= 3 and row["knowledge"] == "partial" for row in rows)
    assert sum(row["poisoned"] for row in rows) > 0
    assert all(played.tables["rounds"].column("attacked").to_pylist())
    assert played.digest == play(scenario(protocol, attack=CompositeAttack((BACKDOOR, FarthestLabelFlip(0.5))))).digest


def hosted(attack, protocol=None):
    experiment = scenario(protocol or FedAvg(), attack=attack)
    host = Host(experiment)
    sampler = ParticipationSampler(experiment.cohort, experiment.seed, host.population)
    plan = make_plan(experiment, host.population, 1, sampler.of(1), sampler.ranks)
    client, server = host.initial()
    return host, plan, GlobalState(0, client, server)


def same(one: Samples, other: Samples) -> bool:
    return one.x.equal(other.x) and one.y.equal(other.y)


def test_honest_clients_train_on_their_own_samples():
    host, plan, start = hosted(LabelFlip())
    host._share(plan, range(len(plan.groups)), start, 1, host.ends(plan, start)[0])
    malicious = [position for position, client in enumerate(plan.clients) if int(client) in plan.malicious]
    assert len(malicious) == 3
    for position, client in enumerate(plan.clients):
        own = host.population.train(int(client))
        trained = host._samples(plan, position)
        assert same(trained, own) == (position not in malicious)
        assert same(host.population.train(int(client)), own), "the population itself stays as it is"


def test_centralised_training_has_the_malicious_share_of_the_joint_data():
    host, plan, start = hosted(LabelFlip(), Centralized())
    host._share(plan, range(len(plan.groups)), start, 1, host.ends(plan, start)[0])
    joint = host._samples(plan, 0)
    begin = 0
    for client in plan.cohort:
        own = host.population.train(int(client))
        poisoned = Samples(joint.x[begin : begin + len(own.y)], joint.y[begin : begin + len(own.y)])
        expected = 4 - own.y if int(client) in plan.malicious else own.y
        assert poisoned.x.equal(own.x) and poisoned.y.equal(expected)
        begin += len(own.y)


def test_honest_clients_of_an_attacked_run_learn_what_they_learn_in_a_clean_one():
    clean, attacked = (
        play(scenario(FedAvg(), training__rounds=1, attack=attack)).tables["clients"].to_pylist()
        for attack in (None, BACKDOOR)
    )
    for one, other in zip(clean, attacked, strict=True):
        assert (one["train_loss"] == other["train_loss"]) == (not one["malicious"])


def test_an_attack_asks_the_portion_that_its_client_holds():
    host, plan, start = hosted(FarthestLabelFlip())
    host._share(plan, range(len(plan.groups)), start, 1, host.ends(plan, start)[0])
    position = next(p for p, client in enumerate(plan.clients) if int(client) in plan.malicious)
    own = host.population.train(int(plan.clients[position]))
    head = host._portions().head.eval()
    with torch.no_grad():
        logits = head(host._pixels(own.x))
    logits[torch.arange(len(own.y)), own.y] = torch.inf
    assert host._samples(plan, position).y.equal(logits.argmin(1))


def test_a_turn_that_began_under_attack_goes_on_with_the_data_that_it_drew():
    protocol = BufferedSplitFed(buffer=2, speeds=Speeds(1.0))
    attack = Scheduled(LabelFlip(), start_round=1, on=1)
    played = play(scenario(protocol, attack=attack, training__rounds=12))
    rows = played.tables["rounds"].to_pylist()
    assert rows[0]["attacked"] and any(row["attacked"] for row in rows[1:]), "who is still under way has flipped labels"
    assert not rows[-1]["attacked"], "who began later has not"
    trained = {row["round"] for row in played.tables["attacks"].to_pylist()}
    assert len(trained) > 1 and trained <= {row["round"] for row in rows if row["attacked"]}


def test_model_replacement_sends_more_of_what_poisoned_data_taught():
    both = CompositeAttack((BACKDOOR, ModelReplacement()))
    alone, joined = (play(scenario(SplitFedV2(), attack=attack, training__rounds=1)) for attack in (BACKDOOR, both))
    norms = [
        {row["client"]: row["update_norm"] for row in played.tables["clients"].to_pylist() if row["malicious"]}
        for played in (
            play(scenario(SplitFedV2(), attack=BACKDOOR, training__rounds=1, defense=NormClipping(1e9))),
            joined,
        )
    ]
    assert all(norms[1][client] == pytest.approx(2 * norms[0][client], rel=1e-4) for client in norms[0])
    assert [row["attack"] for row in joined.tables["attacks"].to_pylist()] == ["ModelReplacement", "PixelBackdoor"]
    assert joined.digest != alone.digest


@part
class Careless(DataAttack):
    """Breaks the contract in one way or another."""

    how: str
    start_round: int = 1
    threat_model = BACKDOOR.threat_model

    def poison_samples(self, view):
        own = view.own
        if self.how == "writes":
            own.y.fill_(0)
            return own
        if self.how == "fewer":
            return Samples(own.x[1:], own.y[1:])
        return Samples(own.x, own.y + 5)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("writes", "changed the samples that it was shown"),
        ("fewer", "must return as many samples of the same kind"),
        ("label", "but the population has 5 classes"),
    ],
)
def test_an_attack_that_breaks_its_contract_is_stopped(how, words):
    with pytest.raises(ClientFailure, match=words):
        play(scenario(FedAvg(), attack=Careless(how)))


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (PixelBackdoor(target=5), "PixelBackdoor.target is 5, but ToyCnn tells 5 classes apart"),
        (TargetedLabelFlip(1, 9), "TargetedLabelFlip.target is 9"),
    ],
)
def test_classes_that_are_not_there(attack, words):
    with pytest.raises(ScenarioError, match=words):
        scenario(FedAvg(), attack=attack)


RAY = [
    (SplitFedV2(), "pooled", 2, NormClipping()),
    (SplitFedV2(), "colocated", None, Mean()),
    (FedAvg(), "colocated", None, Mean()),
    (SplitLearning(), "pooled", None, Mean()),
    (SplitFedV3(), "colocated", None, Mean()),
]


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "placement", "servers", "rule"), RAY)
def test_on_ray_the_same_bits_and_the_same_success(cluster, protocol, placement, servers, rule):
    attack = CompositeAttack((PixelBackdoor(target=1, share=0.5), FarthestLabelFlip(0.3)))
    experiment = scenario(protocol, attack=attack, defense=rule)
    reference = play(experiment)
    with ray_engine(experiment, cluster, 2, placement, servers) as engine:
        played = play(experiment, engine)
    assert_same(played, reference)
    for table, columns in {
        "evaluations": ["attack_samples", "attack_success"],
        "attacks": ["round", "attack", "m", "poisoned"],
    }.items():
        assert played.tables[table].select(columns) == reference.tables[table].select(columns)
