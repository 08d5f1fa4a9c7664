"""Who is let in: a host that knows the secret, at once, whatever strangers do; and it talks to nobody else."""

from __future__ import annotations

import contextlib
import hmac
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from raysplit.engine.ray import handshake
from raysplit.engine.ray.handshake import MOST, TOKEN_BYTES, Greetings, introduce, turn_away_waiting
from raysplit.engine.ray.wire import PeerLost
from tests.engine.callers import WAIT_S, Calling, let_in

TOKEN = bytes(range(TOKEN_BYTES))
OTHER = bytes(TOKEN_BYTES)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield server


def test_a_host_that_knows_the_secret_is_let_in_and_named(listener):
    with Calling(listener.getsockname(), TOKEN, 7) as calling:
        host, connection = let_in(listener, TOKEN)
    assert host == 7 and connection.gettimeout() is None
    connection.close()
    calling.link().close()


def test_the_proof_is_the_keyed_digest_that_is_documented(listener):
    with socket.create_connection(listener.getsockname()) as host, Greetings(listener, TOKEN) as greetings:
        greetings.let_in(WAIT_S)
        challenge = host.recv(48, socket.MSG_WAITALL)
        theirs, own, index = challenge[16:], b"n" * 32, struct.pack("<i", 3)
        host.sendall(index + own + hmac.digest(TOKEN, b"host\0" + theirs + own + index, "sha256"))
        assert [greeted[0] for greeted in greetings.let_in(WAIT_S)] == [3]
        answer = host.recv(32, socket.MSG_WAITALL)
        assert answer == hmac.digest(TOKEN, b"listener\0" + theirs + own + index, "sha256")


def test_the_secret_never_crosses_the_wire_and_no_handshake_is_like_another(listener):
    """What an eavesdropper records lets nobody in."""
    seen = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as between, Calling(between.getsockname(), TOKEN, 1) as calling:
            near, _ = between.accept()
            far = socket.create_connection(listener.getsockname())
            with Greetings(listener, TOKEN) as greetings:
                greetings.let_in(WAIT_S)
                challenge = far.recv(48, socket.MSG_WAITALL)
                near.sendall(challenge)
                answer = near.recv(68, socket.MSG_WAITALL)
                far.sendall(answer)
                [(_, connection)] = greetings.let_in(WAIT_S)
                proof = far.recv(32, socket.MSG_WAITALL)
                near.sendall(proof)
        seen.append((challenge, answer, proof))
        for end in (near, far, connection, calling.link()):
            end.close()
    assert not any(TOKEN[:8] in part for once in seen for part in once)
    assert seen[0][0] != seen[1][0] and seen[0][1] != seen[1][1]
    with socket.create_connection(listener.getsockname()) as replaying:
        replaying.sendall(seen[0][1])
        assert let_in(listener, TOKEN, 0.2) is None


def test_a_host_of_another_run_is_turned_away_and_sends_nothing_on(listener):
    with Calling(listener.getsockname(), OTHER, 0) as calling:
        assert let_in(listener, TOKEN, 0.3) is None
    with pytest.raises(PeerLost, match="does not answer"):
        calling.link()


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\n\r\n" + bytes(50), bytes(200)], ids=["nothing", "web", "zeros"]
)
def test_a_host_does_not_talk_to_a_listener_that_does_not_know_the_secret(listener, said):
    def pretend():
        peer, _ = listener.accept()
        with peer, contextlib.suppress(OSError):
            peer.sendall(said or handshake._CHALLENGE.pack(handshake._MAGIC, bytes(32)))
            peer.recv(68, socket.MSG_WAITALL)
            peer.sendall(bytes(32))

    thread = threading.Thread(target=pretend)
    thread.start()
    with socket.create_connection(listener.getsockname()) as host, pytest.raises(ConnectionError):
        introduce(host, TOKEN, 0, WAIT_S)
    thread.join(WAIT_S)


def test_strangers_who_are_silent_keep_nobody_waiting_and_are_turned_away(listener, monkeypatch):
    monkeypatch.setattr(handshake, "PATIENCE_S", 0.3)
    silent = [socket.create_connection(listener.getsockname()) for _ in range(MOST + 5)]
    with Calling(listener.getsockname(), TOKEN, 2) as calling:
        assert let_in(listener, TOKEN)[0] == 2
    calling.link().close()
    stranger = silent[-1]
    assert let_in(listener, TOKEN, 0.5) is None
    stranger.settimeout(WAIT_S)
    with contextlib.suppress(ConnectionResetError):
        while stranger.recv(100):
            pass
    for peer in silent:
        peer.close()


def test_no_more_are_greeted_at_once_than_are_bounded(listener):
    silent = [socket.create_connection(listener.getsockname()) for _ in range(MOST + 20)]
    with Greetings(listener, TOKEN) as greetings:
        for _ in range(MOST + 20):
            greetings.hear(listener)
        assert len(greetings._greeted) == MOST
    for peer in silent:
        peer.close()


def test_who_waits_unheard_is_hung_up_on(listener):
    with socket.create_connection(listener.getsockname()) as waiting:
        turn_away_waiting(listener)
        waiting.settimeout(WAIT_S)
        with contextlib.suppress(ConnectionResetError):
            assert waiting.recv(1) == b""
