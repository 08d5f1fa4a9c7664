"""What a network sees of stored samples."""

from __future__ import annotations

from typing import Literal

import torch

Pixels = Literal["unit", "inverted", "centred", "bytes"]
"""Of a byte b: b/255, 1 − b/255 (ink 1 on background 0), b/127.5 − 1, or b itself."""


FORMULAS: dict[Pixels, str] = {"unit": "b / 255", "inverted": "1 - b / 255", "centred": "b / 127.5 - 1", "bytes": "b"}
"""What ``to_pixels`` makes of a byte b, in words that a file can hold."""

RANGES: dict[Pixels, tuple[float, float]] = {
    "unit": (0.0, 1.0),
    "inverted": (0.0, 1.0),
    "centred": (-1.0, 1.0),
    "bytes": (0.0, 255.0),
}
"""Between which values lies what a network sees of bytes."""


def to_pixels(x: torch.Tensor, kind: Pixels, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """uint8 [B, C, H, W] → floats of ``dtype`` on ``device``, scaled as ``kind`` says, channels_last.

    Floating samples are numbers already and pass as they are (``check_population`` refuses a ``kind`` that asks for
    more).
    """
    if x.is_floating_point():
        numbers = x.to(device, dtype).contiguous(memory_format=torch.channels_last)
        # A network may write into its input; the client's stored samples must stay as they are.
        return numbers.clone() if numbers.data_ptr() == x.data_ptr() else numbers
    pixels = (x.bitwise_not() if kind == "inverted" else x).to(device, dtype)
    if kind != "bytes":
        pixels = pixels.div_(127.5).sub_(1) if kind == "centred" else pixels.div_(255)
    return pixels.contiguous(memory_format=torch.channels_last)
