"""``synthetic_roles()``: any number of roles of an invented play, their speeches made on demand, nothing on disk.

Characters, windows and labels are those of LEAF's Shakespeare; the words are invented, and nobody's. All roles share a
lexicon with Zipf's frequencies; each has words that it favours. A role is a function of (seed, role id) alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch

from raysplit.population.hashing import uniforms
from raysplit.population.invented import check_numbers, check_range, digest_of, held_out, known_ids
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples
from raysplit.population.text.characters import ALPHABET, WINDOW, windows
from raysplit.rng import stream

GENERATOR = 1
"""Version of the generator: raise it with any change that changes a byte."""
LEXICON = 400
"""Words that the roles share."""
LONGEST = 100_000
"""Characters of the longest part."""


@dataclass(frozen=True)
class SyntheticRoles(PopulationSpec):
    """Which invented roles: ``open()`` gives the population.

    ``roles``: how many clients; ``seed``: another seed, another play; ``mean_samples``: characters a role says,
    training and test together, log-normal over roles with σ ``spread`` of the logarithm (LEAF's Shakespeare: 3,743 on
    average, σ about 1.15); ``test_share``: the part of them that is held out, a speech of its own, so no window of it
    was trained on; ``skew``: how much a role favours words of its own, 0 being nobody. Raises ``PopulationError`` for
    values out of range.
    """

    roles: int = 1129
    seed: int = 0
    mean_samples: float = 300.0
    spread: float = 0.6
    test_share: float = 0.1
    skew: float = 1.0

    def __post_init__(self) -> None:
        check_numbers("synthetic_roles", self, whole=("roles", "seed"))
        check_range("synthetic_roles", "roles", self.roles, 1, 1 << 40)
        check_range("synthetic_roles", "mean_samples", self.mean_samples, 2, LONGEST)
        check_range("synthetic_roles", "spread", self.spread, 0, 2)
        check_range("synthetic_roles", "test_share", self.test_share, 0, 0.9)
        check_range("synthetic_roles", "skew", self.skew, 0, 4)

    def open(self) -> OpenSyntheticRoles:
        """The population; immediate, whatever the number of roles."""
        return OpenSyntheticRoles(self)


def synthetic_roles(
    roles: int = 1129,
    seed: int = 0,
    mean_samples: float = 300.0,
    spread: float = 0.6,
    test_share: float = 0.1,
    skew: float = 1.0,
) -> SyntheticRoles:
    """Invented speeches in the format of LEAF's Shakespeare, by default with its number of roles."""
    return SyntheticRoles(roles, seed, mean_samples, spread, test_share, skew)


class OpenSyntheticRoles:
    """Open synthetic roles: a ``Population`` that holds nothing per client."""

    def __init__(self, spec: SyntheticRoles) -> None:
        self._spec = spec
        self._info = PopulationInfo(
            name="synthetic_roles",
            clients=spec.roles,
            classes=len(ALPHABET),
            shape=(1, 1, WINDOW),
            synthetic=True,
            digest=digest_of("synthetic-roles", GENERATOR, spec),
            description=f"SYNTHETIC speeches in the format of LEAF's Shakespeare by {spec.roles} invented roles: made-up "
            "words, not Shakespeare's and nobody's",
        )

    @property
    def info(self) -> PopulationInfo:
        return self._info

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Training samples of each of ``clients``: int64 [len(clients)]."""
        sizes = self._sizes(clients)
        return sizes - held_out(sizes, self._spec.test_share)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Test samples of each of ``clients``: int64 [len(clients)]."""
        return held_out(self._sizes(clients), self._spec.test_share)

    def train(self, client: int) -> Samples:
        """The training set of one role, x uint8 [n, 1, 1, 80]."""
        return self._samples(client, "train", int(self.train_sizes(np.array([client]))[0]))

    def test(self, client: int) -> Samples:
        """The test set of one role, x uint8 [n, 1, 1, 80]."""
        return self._samples(client, "test", int(self.test_sizes(np.array([client]))[0]))

    def speech(self, client: int, part: Literal["train", "test"], characters: int) -> str:
        """What a role says, that many characters of it, the last a newline."""
        spec = self._spec
        weights = _zipf() * np.exp(spec.skew * stream(spec.seed, "synthetic role", client).standard_normal(LEXICON))
        rng = stream(spec.seed, f"synthetic {part} speech", client)
        words: list[str] = []
        length = 0
        while length < characters:
            sentence = rng.choice(LEXICON, size=int(rng.integers(3, 13)), p=weights / weights.sum())
            text = " ".join(_lexicon(spec.seed)[word] for word in sentence)
            words.append(text[0].upper() + text[1:] + ".,;!?"[int(rng.integers(5))])
            length += len(words[-1]) + 1
        return " ".join(words)[: characters - 1] + "\n" if characters else ""

    def _samples(self, client: int, part: Literal["train", "test"], count: int) -> Samples:
        x, y = windows(self.speech(client, part, count))
        return Samples(torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y))

    def _sizes(self, clients: np.ndarray) -> np.ndarray:
        ids = known_ids(clients, self._spec.roles)
        normal = _normal(uniforms(self._spec.seed, "synthetic role sizes", ids))
        spread = self._spec.spread
        sizes = self._spec.mean_samples * np.exp(spread * normal - spread * spread / 2)
        return np.clip(np.rint(sizes), 2, LONGEST).astype(np.int64)


def _normal(uniform: np.ndarray) -> np.ndarray:
    """Standard normal numbers of uniform ones in (0, 1), both float64 [n]."""
    return torch.special.ndtri(torch.from_numpy(uniform)).numpy()


@cache
def _zipf() -> np.ndarray:
    """float64 [LEXICON], word k as often as 1 / (k + 2)."""
    return 1.0 / (np.arange(LEXICON) + 2.0)


@cache
def _lexicon(seed: int) -> tuple[str, ...]:
    """Invented words of one to four syllables, frequent ones shorter."""
    rng = stream(seed, "synthetic lexicon")
    starts, middles, ends = (
        ["b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "th", "w"],
        ["a", "e", "i", "o", "u", "ea", "ou"],
        ["", "n", "r", "s", "t"],
    )
    words: dict[str, None] = {}
    while len(words) < LEXICON:
        syllables = int(rng.integers(1, 2 + len(words) // 100 + 1))
        word = "".join(
            str(rng.choice(starts)) + str(rng.choice(middles)) + str(rng.choice(ends)) for _ in range(syllables)
        )
        words[word] = None
    return tuple(words)
