"""Picture files as arrays of bytes, decoded in one stated way (docs/data-sets.md, "What becomes of a picture").

Opacity is composited on white, the orientation that a camera noted is applied, and whatever eight bits a channel or
one frame cannot hold is refused.
"""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from raysplit.errors import PopulationError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

#: Files of these suffixes, in letters of any case, are pictures and are read.
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".pbm", ".pgm", ".ppm", ".pnm", ".tif", ".tiff",
    ".webp", ".gif",
)  # fmt: skip
#: Files of these suffixes hold pictures too, or arrays of them, but are not read: a folder that has one is refused.
UNREAD = (
    ".apng", ".avif", ".cr2", ".dcm", ".dds", ".dng", ".eps", ".exr", ".hdr", ".heic", ".heif", ".ico", ".j2k", ".jp2",
    ".jxl", ".mat", ".nef", ".nii", ".npy", ".npz", ".pam", ".pcx", ".pfm", ".psd", ".raw", ".svg", ".tga",
)  # fmt: skip
#: The sides that a resized picture may have.
SIDES = (4, 1024)
ORIENTATION = 0x0112
"""The number of the EXIF tag that says how a camera was held."""
WHITE = (255, 255, 255, 255)


def check_side(size: int) -> None:
    """Raise ``PopulationError`` for a ``--size`` that no picture gets."""
    if not SIDES[0] <= size <= SIDES[1]:
        raise PopulationError(f"--size must be {SIDES[0]} to {SIDES[1]} pixels, but it is {size}")


def read_picture(content: bytes | Path, where: str, *, size: int | None = None, grey: bool = False) -> np.ndarray:
    """A picture as uint8 [3, H, W], or [1, H, W] when ``grey`` (ITU-R 601 luma).

    A pixel of opacity a becomes a · colour + (1 − a) · white; the EXIF orientation is applied; CMYK and other colour
    spaces become RGB by Pillow's formulas, without colour profiles. ``size``: both sides of the result, by bilinear
    interpolation over the area that shrinks to a pixel (Pillow's ``BILINEAR``, as torchvision's ``Resize`` of a
    picture), whatever its shape was. More than eight bits a channel and more than one frame are refused. Raises
    ``PopulationError`` naming ``where``.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow says of damaged EXIF data
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content if isinstance(content, Path) else io.BytesIO(content)) as picture:
                _check_depth(picture, where)
                _check_frames(picture, where)
                plain = _opaque(_upright(picture), "L" if grey else "RGB")
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = " ".join(str(error).split())[:120].rstrip(".")
        raise PopulationError(f"{where} is no readable picture ({reason}); copy it again, or take it out") from error
    if size is not None and plain.size != (size, size):
        plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain)
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _check_depth(picture: Picture, where: str) -> None:
    """Pillow opens 16 bits of grey as a mode of its own, but 16 bits of red, green and blue as eight, in silence."""
    modes = [picture.mode, *(piece for tile in picture.tile for piece in _arguments(tile))]  # type: ignore[attr-defined]
    wide = next((mode for mode in modes if isinstance(mode, str) and _is_wide(mode)), None)
    if wide is None and picture.format == "PPM":
        wide = next((f"maxval {mode}" for mode in modes if isinstance(mode, int) and mode > 255), None)
    if wide is not None:
        raise PopulationError(f"{where} has more than eight bits a channel ({wide}); convert it before, as you see fit")


def _is_wide(mode: str) -> bool:
    """I, F, I;16B, RGB;16L and their like; BMP's BGR;16 has 16 bits a pixel, not a channel."""
    return mode[:1] in ("I", "F") or (";16" in mode and not mode.startswith("BGR"))


def _arguments(tile: object) -> tuple[object, ...]:
    """How a piece of the file is to be decoded: the raw mode, and for PPM the largest value."""
    arguments = tile[3] if isinstance(tile, tuple) else ()
    return arguments if isinstance(arguments, tuple) else (arguments,)


def _check_frames(picture: Picture, where: str) -> None:
    # Cameras write MPO, a JPEG with previews behind it: its first frame is the picture.
    frames = 1 if picture.format == "MPO" else int(getattr(picture, "n_frames", 1))
    if frames > 1:
        raise PopulationError(f"{where} has {frames} frames; save the one that is the sample as a picture of its own")


def _upright(picture: Picture) -> Picture:
    """As the camera was held. TIFF is turned by Pillow while it loads, which also takes the tag away."""
    from PIL.Image import Transpose

    transpositions = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    picture.load()
    try:
        transposition = transpositions.get(picture.getexif().get(ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, struct.error):
        return picture  # EXIF data that nobody can read rotate nothing
    return picture if transposition is None else picture.transpose(transposition)


def _opaque(picture: Picture, mode: str) -> Picture:
    """The picture in ``mode`` (L or RGB), composited on white where it has opacities."""
    from PIL import Image

    palette = picture.palette.mode if picture.mode == "P" and picture.palette is not None else ""
    if not (picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or palette == "RGBA" or "transparency" in picture.info):
        return picture.convert(mode)
    over = picture.convert("LA").convert("RGBA") if picture.mode == "La" else picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, WHITE), over).convert("RGB").convert(mode)
