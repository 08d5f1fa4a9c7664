"""Checks of plain tensors: those with which rules and attacks are called without a simulator, and those that a user's
own give back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from raysplit.errors import ScenarioError


def check_updates(name: str, updates: object, what: str = "updates") -> torch.Tensor:
    """``updates`` as they are; raises ScenarioError unless they are one floating-point tensor [n, d] with n, d ≥ 1."""
    if not isinstance(updates, torch.Tensor):
        raise ScenarioError(
            f"{name} takes {what} as one tensor [n, d], but they are a {type(updates).__name__}; torch.stack(...) "
            "makes one of a list of vectors"
        )
    if updates.ndim != 2 or 0 in updates.shape:
        raise ScenarioError(
            f"{name} takes {what} as a tensor [n, d] with a row for each client and at least one row and one column, "
            f"but its shape is {list(updates.shape)}"
        )
    if not updates.is_floating_point():
        raise ScenarioError(
            f"{name} takes {what} of floating-point numbers, but their dtype is {updates.dtype}; use updates.float()"
        )
    return updates


def check_vector(name: str, argument: str, vector: torch.Tensor | None, d: int) -> None:
    """Raise ScenarioError unless ``vector`` is None or [d]."""
    if vector is not None and tuple(vector.shape) != (d,):
        raise ScenarioError(
            f"{name}: {argument} must have the shape [{d}] of one update, but its shape is {list(vector.shape)}"
        )


def check_answer(what: str, answer: object, shape: tuple[int, ...]) -> None:
    """Raise ScenarioError unless ``answer`` is a floating-point tensor of that ``shape``. ``what`` begins the sentence:
    who must return it."""
    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != shape or not answer.is_floating_point():
        raise ScenarioError(f"{what} as a floating-point tensor {list(shape)}, but it is {described(answer)}")


def described(thing: object) -> str:
    """What a thing is, in the words of an error message: a tensor's type and shape, or whatever else it is."""
    if isinstance(thing, torch.Tensor):
        return f"{str(thing.dtype).removeprefix('torch.')} {list(thing.shape)}"
    return f"a {type(thing).__name__}{list(thing.shape) if isinstance(thing, np.ndarray) else ''}"


def shares(name: str, weights: torch.Tensor | Sequence[float] | None, updates: torch.Tensor) -> torch.Tensor:
    """``weights``, or equal ones, as shares that sum to 1, [n]; raises ScenarioError where they cannot be."""
    n = len(updates)
    if weights is None:
        return torch.full((n,), 1 / n, dtype=updates.dtype)
    given = torch.as_tensor(weights).double()
    if tuple(given.shape) != (n,) or not bool((given >= 0).all()) or not 0 < float(given.sum()) < float("inf"):
        raise ScenarioError(
            f"{name}: weights must be {n} numbers, one for each update, none below 0 and not all 0, but they are "
            f"{given.tolist()}"
        )
    return (given / given.sum()).to(updates.dtype)
