"""Several attacks as one, and attacks on a schedule."""

import pytest

from raysplit.attacks.attack import Attack, CompositeAttack, parts_of
from raysplit.attacks.scheduled import Scheduled, attacks_in_force, singles
from raysplit.attacks.updates.lie import LittleIsEnough
from raysplit.attacks.updates.mimic import Mimic
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.canonical import to_json
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v3 import SplitFedV3
from tests.toys import toy


@pytest.mark.parametrize(
    ("schedule", "rounds"),
    [
        (Scheduled(SignFlip(), start_round=3), {3}),
        (Scheduled(SignFlip(), start_round=3, on=4), {3, 4, 5, 6}),
        (Scheduled(SignFlip(), on=1, off=2), {1, 4, 7, 10}),
        (Scheduled(SignFlip(), start_round=2, on=2, off=3), {2, 3, 7, 8}),
        (Scheduled(Scheduled(SignFlip(), on=6), start_round=2, on=2, off=2), {2, 3, 6}),
        (SignFlip(start_round=8), {8, 9, 10}),
    ],
)
def test_schedules(schedule, rounds):
    assert {round for round in range(1, 11) if attacks_in_force(schedule, round)} == rounds
    assert all(isinstance(attacks_in_force(schedule, round)[0], SignFlip) for round in rounds)


def test_a_schedule_sees_what_its_attack_sees():
    assert Scheduled(Mimic()).threat_model == Mimic().threat_model


def test_together_is_each_of_its_attacks_in_its_own_rounds():
    flip, lie = SignFlip(start_round=2), LittleIsEnough(knowledge="partial")
    joined = CompositeAttack((Scheduled(lie, start_round=3, on=2), flip))
    assert [attacks_in_force(joined, round) for round in range(1, 6)] == [
        (),
        (flip,),
        (lie, flip),
        (lie, flip),
        (flip,),
    ]
    assert joined.start_round == 2 and parts_of(None) == attacks_in_force(None, 1) == ()
    assert singles(CompositeAttack((joined, SignFlip()))) == (lie, flip, SignFlip())
    assert [form["type"] for form in to_json(joined)["attacks"]] == ["Scheduled", "SignFlip"]


@pytest.mark.parametrize(("knowledge", "together"), [("partial", "partial"), ("full", "full")])
def test_together_needs_what_all_need(knowledge, together):
    joined = CompositeAttack((SignFlip(), LittleIsEnough(knowledge=knowledge)))
    assert joined.threat_model.knowledge == together and joined.threat_model.party == "clients"
    assert joined.threat_model.changes == {Channel.UPDATES} and not joined.threat_model.own_data


class Idle(Attack):
    threat_model = SignFlip().threat_model
    start_round = 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Scheduled(SignFlip(start_round=3)), "leave the attack's own start_round out"),
        (lambda: Scheduled(SignFlip(), start_round=0), "counts rounds from 1"),
        (lambda: Scheduled(SignFlip(), on=0), "Scheduled.on must be at least 1"),
        (lambda: Scheduled(SignFlip(), off=0), "Scheduled.off must be at least 1"),
        (lambda: CompositeAttack((SignFlip(),)), "joins two attacks or more, but there are 1"),
        (lambda: toy(FedAvg(), cohort__malicious=0.5, attack=Idle()), "Idle says when it attacks but not what"),
        (
            lambda: toy(SplitFedV3(), cohort__malicious=0.5, attack=SignFlip()),
            "names the channel 'updates', which SplitFedV3",
        ),
        (
            lambda: toy(FedAvg(), cohort__malicious=0.5, attack=CompositeAttack((SignFlip(), Mimic()))),
            "SignFlip and Mimic both would; choose one",
        ),
    ],
)
def test_what_cannot_be(make, words):
    with pytest.raises(ScenarioError, match=words):
        make()
