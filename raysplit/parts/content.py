"""Digests of what a scenario's parts read besides code: files, tensors and arrays, by their bytes."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from typing import Any


def named_file(text: str, folder: str = "") -> str | None:
    """sha256 of the file that a text names, seen from the working directory or ``folder``; None where it names none."""
    if not 0 < len(text) <= 1024 or "\n" in text or "\0" in text or not ("." in text or os.sep in text):
        return None
    for path in (os.path.expanduser(text), os.path.join(folder, text) if folder else ""):
        if path and os.path.isfile(path):
            stat = os.stat(path)
            return _file(os.path.realpath(path), stat.st_size, stat.st_mtime_ns)
    return None


@functools.lru_cache(maxsize=256)
def _file(path: str, size: int, changed: int) -> str:
    """Read once as long as size and time of change stay."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def numbers(value: Any) -> dict[str, Any] | None:
    """The canonical form of a torch tensor or a NumPy array, which has a digest of its bytes; None for anything
    else."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor) and value.layout == torch.strided:
        flat = value.detach().cpu().contiguous().flatten()
        raw = flat.view(torch.uint8).numpy() if flat.numel() else b""
        form = {"tensor": type(value).__name__, "dtype": str(value.dtype), "shape": list(value.shape)}
        return form | {"grad": value.requires_grad, "sha256": hashlib.sha256(raw).hexdigest()}
    if numpy is not None and isinstance(value, numpy.ndarray) and not value.dtype.hasobject:
        raw = numpy.ascontiguousarray(value).reshape(-1).view(numpy.uint8).data if value.size else b""
        return {
            "array": str(value.dtype.descr),
            "shape": list(value.shape),
            "sha256": hashlib.sha256(raw).hexdigest(),
        }
    return None
