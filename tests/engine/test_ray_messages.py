"""On real Ray: attacks on messages give the bits and the rows of the local engine, wherever the server portion runs."""

import pytest

from raysplit import (
    AdditiveNoise,
    Cohort,
    CompositeAttack,
    FeatureGradientTampering,
    GanAttack,
    GradientNormMasking,
    NoPeek,
    Quantisation,
    RandomisedResponse,
    ServerSteering,
    ServerTampering,
    SmashedAscent,
    SmashedBackdoor,
    SmashedNoise,
)
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy

slow = pytest.mark.slow
BOTH = CompositeAttack((SmashedAscent(), SmashedBackdoor(), ServerSteering(start_round=2)))
GAN = GanAttack(target=1, epsilon=0.25, latent=6, width=2)
CASES = [
    (SplitFedV2(u_shaped=True), "fc1", GAN, 2, "pooled", None, ()),
    (SplitLearning(u_shaped=True, schedule="minibatch"), "fc1", GAN, 1, "colocated", None, ()),
    (SplitFedV1(), None, BOTH, 2, "colocated", None, ()),
    (SplitFedV1(), None, BOTH, 3, "pooled", 2, slow),
    (SplitFedV2(), None, BOTH, 3, "pooled", None, ()),
    (
        SplitFedV2(u_shaped=True),
        "fc1",
        CompositeAttack((FeatureGradientTampering("noise"), SmashedNoise())),
        2,
        "pooled",
        None,
        (),
    ),
    (SplitFedV2(u_shaped=True), "fc1", ServerTampering("noise", channel="features"), 2, "pooled", None, slow),
    (SplitLearning(schedule="minibatch"), None, BOTH, 1, "pooled", None, slow),
    (CycleSfl(), None, BOTH, 2, "pooled", None, slow),
]
COLUMNS = ["round", "attack", "m", "messages", "relative_change", "relabelled"]


@pytest.mark.parametrize(
    "protocol,tail,attack,hosts,placement,servers",
    [
        pytest.param(p, t, a, h, where, s, marks=marks, id=f"{type(p).__name__}-{t}-{h}-{where}")
        for p, t, a, h, where, s, marks in CASES
    ],
)
def test_ray_gives_the_bits_of_the_local_engine(cluster, protocol, tail, attack, hosts, placement, servers):
    scenario = toy(protocol, "V1", tail, cohort=Cohort(6, 0.34, "cohort"), attack=attack)
    here = play(scenario)
    assert here.digest != play(scenario.replace(attack=None)).digest
    with ray_engine(scenario, cluster, hosts, placement, servers) as engine:
        there = play(scenario, engine)
    assert_same(there, here)
    assert there.tables["attacks"].select(COLUMNS) == here.tables["attacks"].select(COLUMNS)
    assert here.tables["attacks"].num_rows >= 2
    for path, learned in here.state.memory.items():
        assert all(there.state.memory[path][name].equal(tensor) for name, tensor in learned.items()), path


@pytest.mark.parametrize(("u_shaped", "tail"), [(False, None), pytest.param(True, "fc1", marks=slow)])
def test_defended_messages_are_the_same_on_ray(cluster, u_shaped, tail):
    defenses = (
        AdditiveNoise(scale=0.1),
        Quantisation(bits=5, rounding="stochastic"),
        NoPeek(weight=0.5),
        GradientNormMasking(form="max_norm"),
        RandomisedResponse(epsilon=1.0),
    )
    scenario = toy(SplitFedV2(u_shaped=u_shaped), "V1", tail, message_defenses=defenses)
    here = play(scenario)
    with ray_engine(scenario, cluster, 2, "pooled") as engine:
        there = play(scenario, engine)
    assert_same(there, here)
