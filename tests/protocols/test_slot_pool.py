import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysplit.models.network import build, cut
from raysplit.training.client_step import whole_step
from raysplit.training.gradient_rules import MeanGradient
from raysplit.training.optimizers import Adam, Sgd
from raysplit.training.parties import ClientSlot
from raysplit.training.settings import Training
from raysplit.training.slot_pool import Gathering, SlotPool
from tests.toys import ToyCnn

D = 7


@st.composite
def finishing(draw):
    """Groups with their summing orders, and an order in which clients finish."""
    clients = draw(st.integers(1, 9))
    owner = draw(st.lists(st.integers(0, 2), min_size=clients, max_size=clients))
    order = draw(st.permutations(range(clients)))
    groups = {group: [p for p in order if owner[p] == group] for group in sorted(set(owner))}
    return groups, draw(st.permutations(range(clients)))


@given(finishing())
def test_partial_sums_have_the_same_bits_whatever_the_order_in_which_clients_finish(case):
    orders, arrival = case
    vectors = torch.randn(len(arrival), D, generator=torch.Generator().manual_seed(len(arrival)))
    weights = torch.rand(len(arrival), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gathering = Gathering(orders, weights, rows=False)
    for position in arrival:
        vector = vectors[position].clone()
        gathering.put(position, vector)
        vector.fill_(float("nan"))  # the seat is somebody else's now
    for group, order in orders.items():
        expected = vectors[order[0]] * float(weights[order[0]])
        for position in order[1:]:
            expected.add_(vectors[position], alpha=float(weights[position]))
        assert gathering.sums[group].equal(expected)
    assert not gathering.rows


@given(finishing())
def test_rows_are_kept_as_they_were_put(case):
    orders, arrival = case
    gathering = Gathering(orders, torch.ones(len(arrival), dtype=torch.float64), rows=True)
    for position in arrival:
        vector = torch.full((D,), float(position))
        gathering.put(position, vector)
        vector.zero_()
    assert {p: float(row[0]) for p, row in gathering.rows.items()} == {p: float(p) for p in arrival}
    assert not gathering.sums


def client_slots(count, optimizer):
    training = Training(rounds=1, lr=0.01, optimizer=optimizer)
    spec = ToyCnn("V2")
    return [ClientSlot(cut(build(spec, 42), spec, False, False), training) for _ in range(count)]


def step(slot, position, turn):
    generator = torch.Generator().manual_seed(100 * position + turn)
    x = torch.rand(3, 1, 8, 8, generator=generator)
    whole_step(slot, x, torch.randint(0, 5, (3,), generator=generator), MeanGradient())


@pytest.mark.parametrize("optimizer", [Sgd(), Sgd(momentum=0.9), Adam()], ids=repr)
@pytest.mark.parametrize("slots", [1, 2, 5])
def test_parked_clients_go_on_as_if_they_had_never_stood_up(slots, optimizer):
    clients, local_rounds = 5, 4
    alone = client_slots(1, optimizer)[0]
    vector = alone.flat.vector.clone()
    slot_pool = SlotPool(client_slots(slots, optimizer), lambda position: (vector + position * 1e-3, None), 0.02)
    for turn in range(local_rounds):
        for position in range(clients):
            step(slot_pool.acquire(position), position, turn)
    for position in range(clients):
        alone.enter(vector + position * 1e-3, None, 0.02)
        for turn in range(local_rounds):
            step(alone, position, turn)
        slot = slot_pool.acquire(position)
        assert slot.flat.vector.equal(alone.flat.vector)
        state = slot.state()
        assert state.keys() == alone.state().keys()
        assert all(state[name].equal(tensor) for name, tensor in alone.state().items())


def test_a_seat_that_changes_hands_keeps_nothing_of_the_last_client():
    slot = client_slots(1, Adam())[0]
    vector = slot.flat.vector.clone()
    slot_pool = SlotPool([slot], lambda position: (vector, None), 0.01)
    step(slot_pool.acquire(0), 0, 0)
    assert slot_pool.release(0).state()
    assert slot_pool.acquire(1).state() == {}
    assert slot.flat.vector.equal(vector)


def test_who_is_busy_keeps_the_seat():
    vector = client_slots(1, Sgd())[0].flat.vector.clone()
    slot_pool = SlotPool(client_slots(2, Sgd()), lambda position: (vector, None), 0.01)
    first, second = slot_pool.acquire(0), slot_pool.acquire(1)
    assert slot_pool.acquire(2, busy=lambda position: position == 0) is second
    assert slot_pool.acquire(0) is first
    assert slot_pool.acquire(1, busy=lambda position: position == 0) is second


def test_the_start_is_asked_for_once_a_client():
    asked = []
    vector = client_slots(1, Sgd())[0].flat.vector.clone()

    def start(position):
        asked.append(position)
        return vector, None

    slot_pool = SlotPool(client_slots(1, Sgd()), start, 0.01)
    for _ in range(3):
        for position in range(3):
            slot_pool.acquire(position)
    assert asked == [0, 1, 2]
