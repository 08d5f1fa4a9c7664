"""What to do about a layer that draws random numbers from torch's global generator."""

from __future__ import annotations

from torch import nn

_ATTENTION = (
    "the dropout inside attention has no stream of its own, so set its dropout to 0.0 "
    "(nn.TransformerEncoderLayer: layer.self_attn.dropout = 0.0, which keeps the layer's own nn.Dropout)"
)
_RECURRENT = "make it with dropout=0.0, and put nn.Dropout, which gets a stream, between layers of its own"
_OTHERS = "use nn.Dropout, which gets one, or turn its randomness off"


def remedy(layer: nn.Module) -> str:
    """The end of the sentence that refuses ``layer``."""
    if isinstance(layer, nn.MultiheadAttention):
        return _ATTENTION
    return _RECURRENT if isinstance(layer, nn.RNNBase) else _OTHERS
