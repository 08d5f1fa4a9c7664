"""What lies where in a folder of pictures: parts of a split, clients, classes, and what is none of these.

Nothing is left out in silence: a picture where no class is, or too deep, is refused, and other files are named. Only
what operating systems leave behind (``is_litter``) goes without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.ordered import in_order
from data_prep.pictures import SUFFIXES, UNREAD
from raysplit.errors import PopulationError

#: The part that each top folder of such a name (in letters of any case) is.
PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir", "$recycle.bin", "lost+found"})


@dataclass(frozen=True)
class Owner:
    """A client's folder, or the whole folder of a pool: its pictures, with the name of the class of each."""

    name: str
    folder: Path
    pictures: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class Found:
    """What is in a folder of pictures.

    ``test`` is None and ``split``, which says in words what the split is, empty when there is none. ``classes`` are in
    the order of their numbers; ``left_out`` are the files besides that are no pictures.
    """

    train: tuple[Owner, ...]
    test: tuple[Owner, ...] | None
    classes: tuple[str, ...]
    split: str
    left_out: tuple[str, ...]


def find_pictures(source: Path, by_client: bool) -> Found:
    """All pictures of ``source``; raises ``PopulationError`` for a layout that is ambiguous or would lose some."""
    left_out: list[str] = []
    parts = _parts(source)
    owners = {
        part: _owners(folder, source, by_client, left_out)
        for part, folder in parts.items()
        if part in ("train", "test")
    }
    train, test = owners["train"], owners.get("test")
    split = ""
    if "val" in parts:
        val = _owners(parts["val"], source, by_client, left_out)
        if test is None:
            test = val
        else:
            count = sum(len(owner.pictures) for owner in val)
            split = f" ({parts['val'].name}/ with its {count:,} pictures left out)"
    if test is not None:
        split = (
            f"{parts['train'].name}/ and {parts['test' if 'test' in parts else 'val'].name}/ kept as the split{split}"
        )
    kept = (*train, *(test or ()))
    classes = tuple(in_order(folder.name for owner in kept for folder in _folders(owner.folder)))
    _check_filled(source, kept, classes, by_client)
    return Found(train, test, classes, split, tuple(left_out))


def is_litter(path: Path) -> bool:
    """True for hidden files and folders, and for what macOS, Windows and Synology put beside the user's own."""
    return path.name.startswith(".") or path.name.lower() in LITTER


def _parts(source: Path) -> dict[str, Path]:
    """The folders that are parts of a split, or ``source`` itself as the training part; in order of ``PARTS``."""
    folders = _folders(source)
    named = [folder for folder in folders if folder.name.lower() in PARTS and _folders(folder)]
    if not named:
        return {"train": source}
    others = [path for path in folders if path not in named]
    if others:
        raise PopulationError(
            f"{str(source)!r} has {others[0].name!r} beside {named[0].name!r}: its folders must all be parts of a split "
            "(train, val, test) or all be classes or clients; move one of them"
        )
    parts: dict[str, Path] = {}
    for folder in named:
        other = parts.setdefault(PARTS[folder.name.lower()], folder)
        if other != folder:
            raise PopulationError(
                f"{str(source)!r} has {other.name!r} and {folder.name!r}, which are one part of a split; join them"
            )
    if "train" not in parts:
        raise PopulationError(f"{str(source)!r} has {named[0].name!r}, but no 'train' beside it; add the training part")
    if len(parts) == 1:
        raise PopulationError(
            f"{str(source)!r} has {named[0].name!r} only; add the test part beside it, or name "
            f"{str(named[0])!r} with --from, of which a tenth is held out"
        )
    return {part: parts[part] for part in dict.fromkeys(PARTS.values()) if part in parts}


def _owners(root: Path, source: Path, by_client: bool, left_out: list[str]) -> tuple[Owner, ...]:
    if not by_client:
        return (Owner("", root, tuple(_pictures(root, source, by_client, left_out))),)
    _check_loose(root, source, by_client, left_out)
    folders = {folder.name: folder for folder in _folders(root)}
    return tuple(
        Owner(name, folders[name], tuple(_pictures(folders[name], source, by_client, left_out)))
        for name in in_order(folders)
    )


def _pictures(owner: Path, source: Path, by_client: bool, left_out: list[str]) -> Iterator[tuple[Path, str]]:
    """The pictures of a folder of class folders, by class, then by name."""
    _check_loose(owner, source, by_client, left_out)
    folders = {folder.name: folder for folder in _folders(owner)}
    for name in in_order(folders):
        for path in _entries(folders[name]):
            if path.is_dir():
                _check_deeper(path, source, by_client)
            elif _is_picture(path):
                yield path, name
            else:
                left_out.append(repr(str(path.relative_to(source))))


def _check_loose(folder: Path, source: Path, by_client: bool, left_out: list[str]) -> None:
    """Refuse pictures where only folders of classes or clients should be, and note other files."""
    for path in _entries(folder):
        if path.is_file():
            if _is_picture(path):
                hint = "; leave --by-client out if the layout is CLASS/PICTURE" if by_client else ""
                raise PopulationError(
                    f"{str(path)!r} lies in no class's folder; the layout is {_layout(by_client)}{hint}"
                )
            left_out.append(repr(str(path.relative_to(source))))


def _check_deeper(folder: Path, source: Path, by_client: bool) -> None:
    """Refuse a folder in a class's folder when anything is in it."""
    for where, _, files in os.walk(folder):
        if any(not is_litter(Path(where, name)) for name in files):
            hint = "name --by-client if they are classes of a client" if not by_client else "move its pictures up"
            raise PopulationError(
                f"{str(folder)!r} is a folder within a class's folder, where the layout {_layout(by_client)} of "
                f"{str(source)!r} has pictures; {hint}, or take it away"
            )


def _check_filled(source: Path, owners: Iterable[Owner], classes: tuple[str, ...], by_client: bool) -> None:
    if not classes:
        raise PopulationError(
            f"{str(source)!r} has no folders of the layout {_layout(by_client)}; see docs/data-sets.md"
        )
    filled = {name for owner in owners for _, name in owner.pictures}
    if not filled:
        raise PopulationError(f"{str(source)!r} has no pictures ({', '.join(SUFFIXES)}) in its folders")
    if empty := next((name for name in classes if name not in filled), None):
        raise PopulationError(
            f"the class {empty!r} of {str(source)!r} has no picture anywhere; take its folder away, or fill it"
        )


def _is_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in UNREAD:
        raise PopulationError(f"{str(path)!r} is of a kind that is not read here; convert it to PNG, or take it away")
    return suffix in SUFFIXES


def _layout(by_client: bool) -> str:
    return "CLIENT/CLASS/PICTURE" if by_client else "CLASS/PICTURE"


def _folders(root: Path) -> list[Path]:
    return [path for path in _entries(root) if path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder besides litter, by name; a folder that cannot be looked into is refused."""
    try:
        return sorted(path for path in folder.iterdir() if not is_litter(path))
    except OSError as error:
        raise PopulationError(
            f"{str(folder)!r} cannot be read: {error.strerror}; mend that, or take it away"
        ) from error
