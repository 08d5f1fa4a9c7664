"""Preparing Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 pictures of clothes in MNIST's format, as a pool."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from data_prep.download import Patience
from data_prep.idx import IdxSet
from data_prep.mnist import prepare_idx
from data_prep.prepared import Summary

#: The only address there is has no https; the sums below are what the files are checked with.
OFFICIAL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

# sha256 of the four files whose md5 sums torchvision publishes.
SET = IdxSet(
    name="fashion_mnist",
    folder="FashionMNIST",
    packed=(
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    content=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)
CLASSES = "T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot"


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    mirror: str | None = None,
    console: Console | None = None,
    patience: Patience | None = None,
) -> Summary:
    """Write Fashion-MNIST to ``out`` as a pool in the official split, print what came out and return it.

    ``source`` is a folder with the four files, gzipped or not; without it they are downloaded (from the folder URL
    ``mirror`` when given). Raises ``PopulationError`` or ``DownloadError``.
    """
    about = f"; classes {CLASSES}"
    return prepare_idx(
        SET, OFFICIAL, out, source=source, mirror=mirror, console=console, patience=patience, about=about
    )
