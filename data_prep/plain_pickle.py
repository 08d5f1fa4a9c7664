"""Reading the pickled dictionaries of CIFAR-10's batches without running anything that a pickle may ask for.

A pickle is a program: what it names is called. These batches name numpy's array and its type, in the spellings of
several numpy versions, and nothing else. Each name is answered here by a stand-in that only keeps what it is given, and
any other name is refused, so neither numpy nor anything else is handed a stranger's instructions.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from raysplit.errors import PopulationError


def load_batch(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """``data`` uint8 [n, columns] and ``labels`` int64 [n] of a batch's dictionary; ``where`` is what an error names.

    Python 2 wrote the official batches, so their texts are bytes; Python 3's are understood too. Raises
    ``PopulationError`` for anything that is not such a dictionary, and for a pickle that names anything else.
    """
    try:
        batch = _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
    except _Named as named:
        raise PopulationError(
            f"{where} is no batch of CIFAR-10: its pickle asks for {named}, which no batch does; do not open it with "
            "pickle either"
        ) from None
    except Exception as error:  # a damaged pickle raises whatever its instructions run into
        raise PopulationError(f"{where} is no readable pickle ({type(error).__name__}); download it again") from error
    if not isinstance(batch, dict):
        raise PopulationError(f"{where} is no batch of CIFAR-10: it holds no dictionary")
    fields = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = fields.get("data"), fields.get("labels")
    if not isinstance(data, _Array) or data.values is None or data.values.ndim != 2:
        raise PopulationError(f"{where} is no batch of CIFAR-10: its 'data' are no bytes in two dimensions")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 10 for label in labels):
        raise PopulationError(f"{where} is no batch of CIFAR-10: its 'labels' are no list of classes in 0..9")
    if len(labels) != len(data.values):
        raise PopulationError(f"{where} has {len(data.values)} images and {len(labels)} labels")
    return data.values, np.asarray(labels, dtype=np.int64)


class _Named(Exception):
    """What a pickle asked for and does not get."""


class _Dtype:
    """Stands in for numpy's dtype: the code it was made with."""

    def __init__(self, code: Any = b"", *_: Any) -> None:
        self.code = code.encode("latin1") if isinstance(code, str) else code

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like, which mean nothing for single bytes."""


class _Array:
    """Stands in for numpy's array: a uint8 array once its state came, None for any other."""

    values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if isinstance(content, str):  # bytes that Python 3 read as text
            content = content.encode("latin1")
        if not isinstance(dtype, _Dtype) or dtype.code != b"u1" or not isinstance(content, bytes):
            return
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 3 pickles bytes for Python 2: as text to be encoded."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise _Named("_codecs.encode of something else than bytes")
    return text.encode("latin1")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise _Named(f"{module}.{name}"[:80])
        return _STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _Named("a persistent object")
