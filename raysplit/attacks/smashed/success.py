"""How often a backdoor through the cut works: the server's answers to smashed data that carry the pattern."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from raysplit.attacks.smashed.backdoor import SmashedBackdoor


def backdoor_success(
    attack: SmashedBackdoor, head: nn.Module, body: nn.Module, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> tuple[int, int]:
    """(answered with the target, tried), over ``batches`` (x, y); samples that are of the target's class anyway are not tried.

    ``head``, ``body``: the client and server portion, in evaluation mode. A batch is what one malicious client would send at once: the
    pattern is as large as its own smashed data ask.
    """
    hits = tried = 0
    with torch.no_grad():
        for x, y in batches:
            others = y != attack.target
            if not bool(others.any()):
                continue
            answers = body(attack.triggered(head(x[others]))).argmax(1)
            hits += int((answers == attack.target).sum())
            tried += int(others.sum())
    return hits, tried
