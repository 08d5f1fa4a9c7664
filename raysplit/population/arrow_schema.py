"""What the two Arrow files of a population must say of themselves (docs/population.md, format versions 1 to 3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

# : The format version that holds samples of each kind. Bytes stay version 1, so their files and digests are those of
# old.
VERSIONS = {"uint8": 1, "float32": 2}

UNSEEN = 3
"""The format version of the offsets of a population with unseen clients; its samples are of version 1 or 2."""

CLIENT_FIELDS: dict[str, pa.DataType] = {
    "client": pa.string(),
    "train_start": pa.int64(),
    "train_stop": pa.int64(),
    "test_start": pa.int64(),
    "test_stop": pa.int64(),
}


@dataclass(frozen=True)
class Header:
    """A population's metadata. ``digest``, ``sample_bytes`` and ``unseen``, the number of last clients without training
    samples, are in the offsets only: they are known last."""

    name: str
    shape: tuple[int, int, int]
    classes: int
    synthetic: bool
    description: str
    digest: str = ""
    sample_bytes: int = 0
    dtype: str = "uint8"
    unseen: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in VERSIONS:
            raise ValueError(f"the samples are {self.dtype}, not {' or '.join(VERSIONS)}")
        if len(self.shape) != 3 or min(self.shape) < 1 or _size(self.shape) > 1 << 24:
            raise ValueError(f"the shape is {list(self.shape)}, not [channels, height, width] of at most 2^24 pixels")
        if not 1 <= self.classes <= 32767:
            raise ValueError(f"the number of classes is {self.classes}, not in 1..32767")

    def without_offsets(self) -> Header:
        """The part that the samples file carries."""
        return replace(self, digest="", sample_bytes=0, unseen=0)

    def to_metadata(self, *, offsets: bool) -> dict[str, str]:
        """Arrow schema metadata of the samples file, or of the offsets."""
        metadata = {
            "raysplit.format": "population",
            "raysplit.version": str(VERSIONS[self.dtype]),
            "name": self.name,
            "shape": json.dumps(self.shape),
            "classes": str(self.classes),
            "synthetic": json.dumps(self.synthetic),
            "description": self.description,
        }
        if VERSIONS[self.dtype] > 1:
            metadata["dtype"] = self.dtype
        if not offsets:
            return metadata
        if self.unseen:
            metadata |= {"raysplit.version": str(UNSEEN), "dtype": self.dtype, "unseen": str(self.unseen)}
        return metadata | {"digest": self.digest, "sample_bytes": str(self.sample_bytes)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None, *, offsets: bool) -> Header:
        """Read back; raises ``ValueError`` saying what is missing or wrong."""
        text = {key.decode(): value.decode() for key, value in (metadata or {}).items()}
        if text.get("raysplit.format") != "population":
            raise ValueError("it is an Arrow file, but not a population")
        version = text.get("raysplit.version")
        if version not in ("1", "2", *([str(UNSEEN)] if offsets else [])):
            raise ValueError(f"it has format version {version}, this RaySplit reads 1 to {UNSEEN}")
        wanted = {"name", "shape", "classes", "synthetic", "description"} | (
            {"digest", "sample_bytes"} if offsets else set()
        )
        dtype = "uint8"
        if version != "1":
            wanted |= {"dtype"} if version == "2" else {"dtype", "unseen"}
            dtype = text.get("dtype", "float32")
        if missing := sorted(wanted - text.keys()):
            raise ValueError(f"its metadata lack {', '.join(missing)}")
        shape, synthetic = json.loads(text["shape"]), json.loads(text["synthetic"])
        if not (isinstance(shape, list) and all(type(side) is int for side in shape) and isinstance(synthetic, bool)):
            raise ValueError("its metadata have a shape or a synthetic flag of a wrong kind")
        header = cls(text["name"], tuple(shape), int(text["classes"]), synthetic, text["description"], dtype=dtype)
        if version != str(UNSEEN) and str(VERSIONS[dtype]) != version:
            raise ValueError(f"it has format version {version}, which holds no {dtype} samples")
        if not offsets:
            return header
        if len(text["digest"]) != 64:
            raise ValueError("its digest is not a sha256")
        unseen = int(text.get("unseen", "0"))
        if version == str(UNSEEN) and unseen < 1:
            raise ValueError(f"it has format version {version}, but {unseen} unseen clients")
        return replace(header, digest=text["digest"], sample_bytes=int(text["sample_bytes"]), unseen=unseen)


def sample_schema(shape: tuple[int, int, int], dtype: str = "uint8") -> pa.Schema:
    """The columns of the samples file; units are in the field metadata."""
    kind, unit = (pa.uint8(), "intensity 0..255") if dtype == "uint8" else (pa.float32(), "as the description says")
    pixels = pa.list_(pa.field("pixel", kind, nullable=False), _size(shape))
    return pa.schema(
        [
            pa.field("pixels", pixels, nullable=False, metadata={"unit": unit, "order": "C, H, W"}),
            pa.field("label", pa.int16(), nullable=False, metadata={"unit": "class index"}),
        ]
    )


def client_schema() -> pa.Schema:
    """The columns of the offsets."""
    return pa.schema(
        [
            pa.field(
                name, kind, nullable=False, metadata={"unit": "row of the samples" if name != "client" else "name"}
            )
            for name, kind in CLIENT_FIELDS.items()
        ]
    )


def check_samples(x: np.ndarray, y: np.ndarray, header: Header) -> str:
    """Empty when ``x`` and ``y`` may be written under ``header``, else what they are and what they should be."""
    if x.dtype != header.dtype or x.shape[1:] != header.shape or y.shape != x.shape[:1]:
        wanted = ", ".join(map(str, header.shape))
        return f"pixels {x.dtype}{list(x.shape)} with labels {list(y.shape)}, not {header.dtype} [n, {wanted}] with [n]"
    if x.dtype == np.float32 and not np.isfinite(x).all():
        return "samples with values that are not finite; a network can learn nothing from them"
    return ""


def _size(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]
