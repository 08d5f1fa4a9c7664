"""Made-up answers for detectors at clients."""

from __future__ import annotations

import torch

from raysplit import rng
from raysplit.defenses.detection.client_detector import AnsweredView, BatchView


def answered(batch, labels=None, gradients=None, first_layer=None, fake=False, classes=10, client=0):
    none = torch.zeros(0)
    return AnsweredView(
        round=1,
        client=client,
        step=batch - 1,
        batch=batch,
        labels=torch.zeros(1, dtype=torch.int64) if labels is None else labels,
        fake=fake,
        cut_gradients=none if gradients is None else gradients,
        first_layer=none if first_layer is None else first_layer,
        classes=classes,
        rng=rng.stream(7, "judged in a test", batch),
    )


def about_to_send(batch, labels, classes=10):
    return BatchView(1, 0, batch - 1, batch, labels, classes, rng.stream(7, "pretended in a test", batch))
