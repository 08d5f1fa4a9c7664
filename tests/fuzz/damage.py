"""Damage to bytes and to JSON, drawn from a seed."""

from __future__ import annotations

import copy
import json
import random
import struct
from typing import Any

_EXTREMES = (
    *(struct.pack("<i", n) for n in (-1, 0, 1, 2**31 - 1, -(2**31), 1 << 20)),
    *(struct.pack("<q", n) for n in (-1, 0, 2**63 - 1, -(2**63), 1 << 32, 1 << 40)),
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1,
        2**63,
        10**400,
        -0.5,
        float("nan"),
        float("inf"),
        "",
        "../../etc/passwd",
        "\ud800",
        "9" * 999,
    ),
    *([], {}, [[]], {"a": {"b": []}}, "finished", "round-000001", ["model.safetensors"]),
)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """``data`` with one to four kinds of damage."""
    made = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        made = _hurt(made, draw)
    return bytes(made)


def _hurt(data: bytearray, draw: random.Random) -> bytearray:
    at = draw.randrange(len(data) + 1)
    size = draw.choice((1, 1, 2, 4, 8, 16, 64, 512))
    match draw.randrange(9):
        case 0:
            for place in range(at, min(at + size, len(data))):
                data[place] ^= 1 << draw.randrange(8)
        case 1:
            return data[:at]
        case 2:
            data[at : at + size] = bytes(size)
        case 3:
            data[at : at + size] = draw.randbytes(size)
        case 4:
            data[at:at] = draw.randbytes(size)
        case 5:
            del data[at : at + size]
        case 6:
            extreme = draw.choice(_EXTREMES)
            at -= at % len(extreme)
            data[at : at + len(extreme)] = extreme
        case 7:
            data[at:at] = data[at : at + draw.randrange(1, 4096)]
        case _:
            return bytearray(draw.randbytes(draw.randrange(200))) if draw.random() < 0.2 else data[at:] + data[:at]
    return data


def damaged_json(data: bytes, draw: random.Random) -> bytes:
    """A JSON object in which something is another thing, is missing, or is more than was expected."""
    if draw.random() < 0.3:
        return damaged(data, draw)
    if draw.random() < 0.03:
        return draw.choice((b"[" * 100_000, b'{"a":' * 50_000, b"1" * 6000, b'"' + b"a" * 100_000 + b'"'))
    form = json.loads(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        place, key = _anywhere(form, draw)
        if isinstance(place, dict) and draw.random() < 0.2:
            del place[key]
        else:
            place[key] = copy.deepcopy(draw.choice(_VALUES))
        if not form:
            break
    return json.dumps(form).encode()


def _anywhere(form: Any, draw: random.Random) -> tuple[Any, Any]:
    """A dict or list in ``form``, and a key of it."""
    place, key = form, draw.choice(list(form))
    while isinstance(place[key], dict | list) and place[key] and draw.random() < 0.7:
        place = place[key]
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
    return place, key
