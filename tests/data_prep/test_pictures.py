"""One picture at a time: what becomes of opacity, orientation, colour spaces, depths and frames."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.pictures import SUFFIXES, UNREAD, read_picture
from raysplit.errors import PopulationError

RANDOM = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
PLAIN = Image.fromarray(RANDOM)
INK = np.zeros((6, 6), bool)
INK[1:5, 2:4] = True


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(depth: int, colour: int, channels: int) -> bytes:
    """A PNG of 3 × 2 zeros by hand, for Pillow writes no 16 bits of colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, depth, colour, 0, 0, 0))
    lines = b"".join(b"\0" + bytes((3 * channels * depth + 7) // 8) for _ in range(2))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def black_on_transparent(mode: str) -> bytes:
    """Black ink on transparent black, as drawing programs save a sketch."""
    opacity = Image.fromarray(np.where(INK, 255, 0).astype(np.uint8))
    if mode == "P":
        indexed = Image.fromarray(INK.astype(np.uint8))
        indexed.putpalette([0, 0, 0, 0, 0, 0])
        return saved(indexed, "PNG", transparency=0)
    if mode == "L":  # one grey value that stands for transparent: ink 1, ground 0
        return saved(Image.fromarray(INK.astype(np.uint8)), "PNG", transparency=0)
    image = Image.new(mode, (6, 6))
    image.putalpha(opacity)
    return saved(image, "PNG")


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_black_ink_on_transparent_ground_is_black_on_white(mode: str, grey: bool) -> None:
    pixels = read_picture(black_on_transparent(mode), "ink", grey=grey)
    assert pixels.shape == (1 if grey else 3, 6, 6)
    assert (pixels[:, INK] <= 1).all() and (pixels[:, ~INK] == 255).all()


def test_half_opacity_is_half_of_white() -> None:
    image = Image.new("RGBA", (4, 4), (100, 0, 200, 128))
    expected = [round(128 / 255 * c + 127 / 255 * 255) for c in (100, 0, 200)]
    assert read_picture(saved(image, "PNG"), "x")[:, 0, 0].tolist() == pytest.approx(expected, abs=1)


def test_full_opacity_changes_no_bit() -> None:
    image = PLAIN.copy()
    image.putalpha(255)
    assert np.array_equal(read_picture(saved(image, "PNG"), "x"), RANDOM.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_as_the_camera_was_held(kind: str, orientation: int) -> None:
    """The EXIF standard's eight cases, written as array operations."""
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation](RANDOM)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(PLAIN, kind, exif=exif, **options)
    assert np.array_equal(read_picture(content, "x"), upright.transpose(2, 0, 1))


def test_a_jpeg_of_a_phone_is_turned_before_it_is_resized() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    square = np.zeros((32, 64, 3), np.uint8)
    square[:, :32] = 255  # the left half is white; upright, the upper one
    pixels = read_picture(saved(Image.fromarray(square), "JPEG", exif=exif), "x", size=8, grey=True)
    assert (pixels[0, :3] > 240).all() and (pixels[0, 5:] < 15).all()


def test_damaged_exif_data_turn_nothing_and_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    content = saved(PLAIN, "JPEG", exif=b"Exif\0\0II*\0garbage that is none")
    assert np.array_equal(read_picture(content, "x"), read_picture(saved(PLAIN, "JPEG"), "x"))
    content = saved(PLAIN, "JPEG", exif=b"Exif\0\0garbage")
    assert read_picture(content, "x").shape == (3, 5, 7) and capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(16, 0, 1), "I;16"),
        (png(16, 2, 3), "RGB;16B"),
        (png(16, 4, 2), "LA;16B"),
        (png(16, 6, 4), "RGBA;16B"),
        (b"P6\n2 1\n65535\n" + bytes(12), "maxval 65535"),
        (b"P5\n2 1\n65535\n" + bytes(4), "I"),
        (saved(Image.fromarray(np.zeros((3, 3), np.float32)), "TIFF"), "F"),
        (saved(Image.fromarray(np.zeros((3, 3), np.int32)), "TIFF"), "I"),
        (saved(Image.fromarray(np.zeros((3, 3), np.uint16)), "TIFF"), "I;16"),
    ],
)
def test_more_than_eight_bits_a_channel_are_refused(content: bytes, words: str) -> None:
    with pytest.raises(PopulationError, match=r"x\.png has more than eight bits a channel") as caught:
        read_picture(content, "x.png")
    assert f"({words}" in str(caught.value)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_fewer_bits_are_stretched_to_eight(depth: int) -> None:
    assert (read_picture(png(depth, 0, 1), "x", grey=True) == 0).all()
    assert read_picture(b"P5\n2 1\n15\n" + bytes([15, 0]), "x", grey=True).tolist() == [[[255, 0]]]
    five_six_five = struct.pack("<2sIHHI", b"BM", 70 + 4, 0, 0, 70)
    five_six_five += struct.pack("<IiiHHIIiiII", 56, 2, -1, 1, 16, 3, 4, 0, 0, 0, 0)
    five_six_five += struct.pack("<IIII", 0xF800, 0x07E0, 0x001F, 0) + struct.pack("<HH", 0xFFFF, 0)
    assert read_picture(five_six_five, "x")[:, 0].tolist() == [[255, 0]] * 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_more_than_one_frame_is_refused_and_one_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    with pytest.raises(PopulationError, match="x has 3 frames; save the one that is the sample"):
        read_picture(saved(frames[0], kind, save_all=True, append_images=frames[1:]), "x")
    one = read_picture(saved(frames[0], kind, **({"lossless": True} if kind == "WEBP" else {})), "x")
    assert one[:, 0, 0].tolist() == [255, 0, 0]


def test_the_preview_behind_a_cameras_jpeg_is_no_frame() -> None:
    preview = Image.new("RGB", (4, 4), "blue")
    content = saved(Image.new("RGB", (8, 8), "red"), "MPO", save_all=True, append_images=[preview])
    assert read_picture(content, "x").shape == (3, 8, 8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
@pytest.mark.parametrize("grey", [False, True])
def test_other_colour_spaces_are_pillows_conversion(mode: str, grey: bool) -> None:
    content = saved(PLAIN.convert(mode), "TIFF")
    by_pillow = np.asarray(Image.open(io.BytesIO(content)).convert("L" if grey else "RGB"))
    assert np.array_equal(
        read_picture(content, "x", grey=grey), by_pillow[None] if grey else by_pillow.transpose(2, 0, 1)
    )


def test_a_picture_cut_short_is_one_sentence(tmp_path: Path) -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        content = saved(PLAIN, kind)
        for length in (0, 10, len(content) // 2):
            with pytest.raises(PopulationError, match="x is no readable picture") as caught:
                read_picture(content[:length], "x")
            assert "\n" not in str(caught.value)


def test_no_suffix_is_both_read_and_unread() -> None:
    assert not set(SUFFIXES) & set(UNREAD) and all(s == s.lower() for s in SUFFIXES + UNREAD)
