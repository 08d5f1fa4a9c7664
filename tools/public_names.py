"""Write raysplit/__init__.pyi from the table of public names in raysplit/__init__.py.

    python tools/public_names.py

Run it after a change of the table; tests/public/ compares the two.
"""

from __future__ import annotations

from pathlib import Path

import raysplit

STUB = Path(raysplit.__file__).with_suffix(".pyi")


def stub() -> str:
    """The text of the stub: every public name re-exported from where it is defined, and ``__all__``."""
    imports = [
        f"from {module} import {name} as {name}"
        for module, names in sorted(raysplit.HOMES.items())
        for name in sorted(names, key=_as_ruff)
    ]
    return "\n".join(
        [
            '"""What raysplit/__init__.py imports when it is asked for. Written by tools/public_names.py."""',
            "",
            *imports,
            "",
            "HOMES: dict[str, list[str]]",
            "__version__: str",
            "__all__ = [",
            *(f'    "{name}",' for name in sorted(raysplit.__all__, key=_as_ruff)),
            "]",
            "",
        ]
    )


def _as_ruff(name: str) -> tuple[int, str]:
    """The order that ruff wants: constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
    print(f"{STUB}: {len(raysplit.__all__)} names")
