"""How a party of a site group sends: what goes over a channel, and what arrives."""

from __future__ import annotations

from collections.abc import Callable

import torch

from raysplit.channels.channel import Channel

Send = Callable[[Channel, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""(channel, tensor, labels that go with it) → what arrives"""
