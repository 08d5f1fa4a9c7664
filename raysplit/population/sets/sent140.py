"""LEAF's Sent140: the mood of a tweet, one client a Twitter user (Go et al. 2009; Caldas et al. 2018)."""

from __future__ import annotations

from raysplit.population.arrow import DATA, ArrowFile


def sent140(path: str | None = None, characters: bool = False) -> ArrowFile:
    """The prepared Sent140 population: classes negative, positive; samples float32 [1, 1, 25], numbers of words, or with
    ``characters`` uint8 [1, 1, 140], numbers of characters.

    For ``sent140_lstm()``, ``stacked_lstm()`` and ``bag_of_words()``, with ``pixels="bytes"``. ``path`` names the
    prepared file; without it, ``sent140.arrow`` (``sent140-characters.arrow``) in the data directory (see
    ``ArrowFile``). Opening it before it was prepared raises a ``PopulationError`` that names the command.
    """
    name, option = ("sent140-characters", " --characters") if characters else ("sent140", "")
    return ArrowFile(
        f"{DATA}/{name}.arrow" if path is None else path, f"run `raysplit data prepare sent140{option}` first"
    )
