import queue
import socket
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.channels.channel import Channel
from raysplit.channels.message import Message, Score, StepAddress
from raysplit.engine.ray.handshake import TOKEN_BYTES
from raysplit.engine.ray.wire import PeerLost, Wire, WireLink
from tests.engine.callers import Calling, let_in

TOKEN = bytes(range(TOKEN_BYTES))
WAIT_S = 10
IMAGE = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).view(2, 3, 4, 5)


class Pair:
    """Two ends of a wire in this process; what an end receives lands in its queue."""

    def __init__(self):
        self.inboxes = [queue.SimpleQueue(), queue.SimpleQueue()]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near_end = socket.create_connection(listener.getsockname())
            far_end, _ = listener.accept()
        self.wires = [Wire(end, inbox.put) for end, inbox in zip((near_end, far_end), self.inboxes, strict=True)]

    def pass_on(self, message):
        self.wires[0].send(message)
        return self.inboxes[1].get(timeout=WAIT_S)

    def close(self):
        for wire in self.wires:
            wire.close()


@pytest.fixture(scope="module")
def pair():
    ends = Pair()
    yield ends
    ends.close()


@pytest.mark.parametrize(
    "tensor",
    [
        IMAGE,
        IMAGE.contiguous(memory_format=torch.channels_last),
        IMAGE.transpose(2, 3),
        IMAGE[0, 0].t(),
        torch.randn(6, 1, 4, 4).contiguous(memory_format=torch.channels_last),
        torch.randn(7, dtype=torch.float64),
        torch.randn(3, 5).to(torch.bfloat16),
        torch.randn(3, 5).half(),
        torch.tensor(3.5),
        torch.randn(1, 512),
        torch.tensor([float("nan"), -0.0, float("inf")]),
    ],
    ids=lambda t: f"{tuple(t.shape)}-{t.stride()}-{t.dtype}",
)
def test_a_tensor_arrives_with_its_bits_its_type_and_its_strides(pair, tensor):
    sent = tensor.clone(memory_format=torch.preserve_format)
    arrived = pair.pass_on(StepAddress(1, 2, 4, 3).message(Channel.SMASHED, tensor)).tensor
    assert arrived.dtype == tensor.dtype and arrived.shape == tensor.shape
    assert arrived.stride() == tensor.stride()
    as_bytes = [t.contiguous().view(-1).view(torch.uint8) for t in (arrived, tensor, sent)]
    assert as_bytes[0].equal(as_bytes[1]) and as_bytes[0].equal(as_bytes[2])


@pytest.mark.parametrize(
    "tensor",
    [IMAGE[:, ::2], IMAGE[..., 1:], torch.ones(3, 1).expand(3, 4), IMAGE[1:, :, 1:]],
    ids=["step", "slice", "expanded", "corner"],
)
def test_a_tensor_with_holes_arrives_without_them(pair, tensor):
    arrived = pair.pass_on(StepAddress(1, 2, 0, 0).message(Channel.FEATURES, tensor)).tensor
    assert arrived.equal(tensor) and arrived.is_contiguous()


def test_a_part_of_a_larger_tensor_arrives_as_that_part(pair):
    assert pair.pass_on(StepAddress(1, 2, 0, 0).message(Channel.SMASHED, IMAGE[1])).tensor.equal(IMAGE[1])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=0, max_size=5), st.randoms(use_true_random=False))
def test_any_permuted_tensor_arrives_as_it_left(shape, random):
    order = list(range(len(shape)))
    random.shuffle(order)
    tensor = torch.randn(shape).permute(order)
    ends = Pair()
    try:
        arrived = ends.pass_on(StepAddress(1, 2, 0, 0).message(Channel.SMASHED, tensor)).tensor
    finally:
        ends.close()
    assert arrived.equal(tensor)
    assert [s for s, n in zip(arrived.stride(), shape, strict=True) if n > 1] == [
        s for s, n in zip(tensor.stride(), shape, strict=True) if n > 1
    ] or arrived.is_contiguous()


@pytest.mark.parametrize("channel", list(Channel))
def test_channel_address_labels_and_score_arrive_with_it(pair, channel):
    labels = torch.tensor([5, 0, 61, 2])
    sent = Message(channel, 2**31 - 1, 2**63 - 1, 2**31 - 1, IMAGE, labels, 2**31 - 1, Score(0.1 + 0.2, 0))
    arrived = pair.pass_on(sent)
    assert arrived.channel is channel
    assert (arrived.round, arrived.client) == (sent.round, sent.client)
    assert (arrived.step, arrived.position) == (sent.step, sent.position)
    assert arrived.labels.equal(labels) and arrived.labels.dtype == torch.int64
    assert arrived.score == sent.score
    bare = pair.pass_on(StepAddress(1, 2, 0, 0).message(channel, IMAGE))
    assert bare.labels is None and bare.score is None


def test_two_ends_that_send_much_at_once_do_not_block_each_other():
    ends = Pair()
    big = torch.randn(1 << 21)  # 8 MiB, far beyond any socket buffer

    def flood(wire):
        for step in range(4):
            wire.send(StepAddress(1, 2, step, 0).message(Channel.SMASHED, big))

    threads = [threading.Thread(target=flood, args=(wire,)) for wire in ends.wires]
    for thread in threads:
        thread.start()
    for inbox in ends.inboxes:
        for step in range(4):
            message = inbox.get(timeout=60)
            assert message.step == step and message.tensor.equal(big)
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    ends.close()


def test_when_one_end_closes_the_other_is_told_and_can_send_no_more():
    ends = Pair()
    ends.wires[0].close()
    assert ends.inboxes[1].get(timeout=WAIT_S) is None
    with pytest.raises(PeerLost, match="the wire broke while sending"):
        for _ in range(100):
            ends.wires[1].send(StepAddress(1, 2, 0, 0).message(Channel.CUT_GRADIENTS, torch.zeros(1 << 16)))
            time.sleep(0.01)
    ends.close()


def test_a_type_that_the_wire_does_not_know_is_refused_by_the_sender(pair):
    with pytest.raises(ValueError):
        pair.wires[0].send(StepAddress(1, 2, 0, 0).message(Channel.SMASHED, torch.zeros(2, dtype=torch.int32)))


def test_messages_go_both_ways_between_a_host_and_the_server_that_let_it_in():
    with socket.create_server(("127.0.0.1", 0)) as listener, Calling(listener.getsockname(), TOKEN, 7) as calling:
        host, connection = let_in(listener, TOKEN)
        link = calling.link()
    assert host == 7
    inbox = queue.SimpleQueue()
    server = Wire(connection, inbox.put)
    address = StepAddress(1, 2, 2, 1)
    link.send(address.message(Channel.SMASHED, IMAGE, torch.tensor([1, 2])))
    assert inbox.get(timeout=WAIT_S).tensor.equal(IMAGE)
    link.send(address.message(Channel.FEATURE_GRADIENTS, IMAGE))
    assert inbox.get(timeout=WAIT_S).channel is Channel.FEATURE_GRADIENTS
    server.send(address.message(Channel.SMASHED, IMAGE).reply(Channel.CUT_GRADIENTS, IMAGE, Score(1.5, 2)))
    reply = link.receive()
    assert (reply.step, reply.position) == (2, 1)
    assert reply.score == Score(1.5, 2) and reply.tensor.equal(IMAGE)
    server.close()
    with pytest.raises(PeerLost, match="the main server is gone"):
        link.receive()
    link.close()


def test_nobody_listening_is_a_lost_peer():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    with pytest.raises(PeerLost, match=f"127.0.0.1:{address[1]} does not answer"):
        WireLink(address, TOKEN, 0)
