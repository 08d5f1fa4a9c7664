"""HAM10000: dermatoscopic pictures of skin lesions (Tschandl et al. 2018), a pool of one client."""

from __future__ import annotations

from raysplit.errors import PopulationError
from raysplit.population.arrow import DATA, ArrowFile


def ham10000(size: int = 64, path: str | None = None) -> ArrowFile:
    """The prepared HAM10000 pool: 7 classes, samples uint8 [3, size, size]; no lesion is in training and test set.

    ``path`` names the prepared file; without it, ``ham10000-SIZE.arrow`` in the data directory (see ``ArrowFile``).
    Opening it before it was prepared raises a ``PopulationError`` that names the command.
    """
    if type(size) is not int or size < 1:
        raise PopulationError(f"ham10000: size must be a whole number of pixels, not {size!r}")
    command = "raysplit data prepare ham10000" + (f" --size {size}" if size != 64 else "")
    return ArrowFile(f"{DATA}/ham10000-{size}.arrow" if path is None else path, f"run `{command}` first")
