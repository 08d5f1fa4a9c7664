"""Picture files as arrays of bytes: PNG, JPEG and whatever else Pillow reads, decoded in one stated way."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from raysplit.errors import PopulationError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
#: The sides that a resized picture may have.
SIDES = (4, 1024)


def check_side(size: int) -> None:
    """Raise ``PopulationError`` for a ``--size`` that no picture gets."""
    if not SIDES[0] <= size <= SIDES[1]:
        raise PopulationError(f"--size must be {SIDES[0]} to {SIDES[1]} pixels, but it is {size}")


def read_picture(content: bytes | Path, where: str, *, size: int | None = None, grey: bool = False) -> np.ndarray:
    """A picture as uint8 [3, H, W], or [1, H, W] when ``grey`` (ITU-R 601 luma).

    ``size``: both sides of the result, by bilinear interpolation over the area that shrinks to a pixel (Pillow's
    ``BILINEAR``, as torchvision's ``Resize`` of a picture), whatever its shape was. More than eight bits a channel are
    refused. Raises ``PopulationError`` naming ``where``.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content if isinstance(content, Path) else io.BytesIO(content)) as picture:
                if picture.mode[0] in "IF":
                    raise PopulationError(
                        f"{where} has more than eight bits a channel ({picture.mode}); convert it before, as you see "
                        "fit"
                    )
                plain = picture.convert("L" if grey else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = " ".join(str(error).split())[:120].rstrip(".")
        raise PopulationError(f"{where} is no readable picture ({reason}); copy it again, or take it out") from error
    if size is not None and plain.size != (size, size):
        plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain)
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))
