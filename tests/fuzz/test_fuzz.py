"""A few of the inputs of ``tools/fuzz.py``, the same ones each time."""

from dataclasses import replace

import pytest

from tests.fuzz.files import TARGETS as FILES
from tests.fuzz.playing import play
from tests.fuzz.sockets import TARGETS as SOCKETS
from tests.fuzz.sockets import play as play_sockets

INPUTS = {"populations": 80, "checkpoints": 50, "tables": 20, "json": 25, "recorded": 50}


@pytest.mark.parametrize("target", FILES, ids=lambda target: target.name)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(target):
    assert [finding for finding in play(target, 7, range(INPUTS[target.name])) if finding] == []


@pytest.mark.parametrize("target", SOCKETS, ids=lambda target: target.name)
def test_what_a_stranger_or_a_liar_sends_ends_no_reader_and_keeps_nobody_out(target):
    assert [finding for finding in play_sockets(target, 7, range(25)) if finding] == []


@pytest.mark.parametrize("kind", ["populations", "tables"])
def test_the_fuzzer_finds_a_reader_that_trusts(kind):
    target = next(target for target in FILES if target.name == kind)

    def trusting(folder):
        for path in folder.rglob("*.arrow"):
            assert path.read_bytes()[:4] in (b"ARRO", b"\xff\xff\xff\xff")

    assert any(play(replace(target, read=trusting), 7, range(60)))
