"""What secure aggregation sends beside and in place of plain updates, in bytes."""

from __future__ import annotations

from typing import NamedTuple

_KEY = 32
"""A public key (X25519); a client has two"""
_SHARE = 32
"""A share of a 256-bit seed; a client sends each other one of its two seeds', encrypted, with a tag"""
_TAG = 16


class MaskedSizes(NamedTuple):
    """Of a round of Bonawitz et al. 2017 (protocol of figure 4, without signatures) in which every number has ``bits``."""

    bits: int

    def up(self, floats: int, clients: int) -> int:
        """What one of ``clients`` sends: its keys, an encrypted pair of shares to each other, its masked update of
        ``floats`` numbers and a count, and a share for every client at the end."""
        others = clients - 1
        return 2 * _KEY + others * (2 * _SHARE + _TAG) + -(-(floats + 1) * self.bits // 8) + clients * _SHARE

    def down(self, clients: int) -> int:
        """What it receives beside the portion: the others' keys and shares, and who has reported, a bit each."""
        others = clients - 1
        return others * 2 * _KEY + others * (2 * _SHARE + _TAG) + -(-clients // 8)
