"""A speech as LEAF reads it (Caldas et al. 2018): 80 characters, and a window for each of them that has the 80 before
it."""

from __future__ import annotations

import re

import numpy as np

ALPHABET = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"
"""LEAF's 80 characters; a character's number is its place."""
WINDOW = 80
"""Characters before the one that is to be told."""
UNKNOWN = len(ALPHABET) - 1
"""Every other character: LEAF numbers it −1, which as a label is the last of the alphabet."""

_NUMBERS = np.full(0x110000, UNKNOWN, dtype=np.uint8)
_NUMBERS[[ord(character) for character in ALPHABET]] = np.arange(len(ALPHABET))


def encode(text: str) -> np.ndarray:
    """uint8 [len(text)], every character's number."""
    return _NUMBERS[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")]


def windows(text: str) -> tuple[np.ndarray, np.ndarray]:
    """A speech's samples, x uint8 [n, 1, 1, 80] and y int64 [n]: line by line, n characters, with blanks before a line.

    As LEAF's, each line ends in its newline, and blanks that follow each other become one.
    """
    x, y = [], []
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        numbers = encode(" " * WINDOW + re.sub("  +", " ", line))
        x.append(np.lib.stride_tricks.sliding_window_view(numbers, WINDOW)[:-1])
        y.append(numbers[WINDOW:])
    if not x:
        return np.zeros((0, 1, 1, WINDOW), dtype=np.uint8), np.zeros(0, dtype=np.int64)
    return np.concatenate(x)[:, None, None], np.concatenate(y).astype(np.int64)
