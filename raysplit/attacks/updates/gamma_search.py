"""The search for γ as published with NDSS'21 (``our_attack_trmean`` / ``our_attack_median``), probe by probe."""

from __future__ import annotations

from collections.abc import Callable


def published_search(loss: Callable[[float], float], start: float, tolerance: float = 1e-5) -> tuple[float, int]:
    """γ and the number of probes; ``loss`` is what a clone at γ achieves.

    Walks from γ = ``start`` by steps of start/2, start/4, …: up after a probe that beat the *previous* probe (not the
    best one), else down, until the last success is within ``tolerance``. The first probe always succeeds, so only
    [start, 2·start] can be reached, and on a plateau the answer is ``start`` itself.
    """
    gamma = step = start
    success, previous, probes = 0.0, -1.0, 0
    while abs(success - gamma) > tolerance:
        current = loss(gamma)
        probes += 1
        if previous < current:
            success = gamma
            gamma += step / 2
        else:
            gamma -= step / 2
        step /= 2
        previous = current
    return success, probes


def selection_search(fooled: Callable[[float], bool], start: float, tolerance: float = 1e-5) -> tuple[float, int]:
    """The same walk where success is to be selected (``our_attack_krum``): up after a success, else down; γ and the
    probes.

    Only [0, 2·start] can be reached. γ is the last success, 0 without one.
    """
    gamma = step = start
    success, probes = 0.0, 0
    while abs(success - gamma) > tolerance:
        probes += 1
        if fooled(gamma):
            success = gamma
            gamma += step / 2
        else:
            gamma -= step / 2
        step /= 2
        if step == 0:
            break
    return success, probes
