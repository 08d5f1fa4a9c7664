"""The token of a Ray cluster, found where Ray itself looks for it, and its file closed to other users."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from raysplit.errors import ClusterError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


class FoundToken(NamedTuple):
    """``text``: the token; None where there is none, or Ray was told to use none. ``file``: where it was read."""

    text: str | None
    file: Path | None


def find_token(environment: Mapping[str, str] | None = None) -> FoundToken:
    """The token that Ray's own clients would take: ``RAY_AUTH_TOKEN``, else the file that ``RAY_AUTH_TOKEN_PATH``
    names, else ``~/.ray/auth_token``; none with ``RAY_AUTH_MODE=disabled``.

    Raises ``ClusterError`` where the file that ``RAY_AUTH_TOKEN_PATH`` names cannot be read or is empty.
    """
    said = os.environ if environment is None else environment
    if said.get(MODE, "").lower() == "disabled":
        return FoundToken(None, None)
    if said.get(TOKEN, "").strip():
        return FoundToken(said[TOKEN].strip(), None)
    named = said.get(TOKEN_PATH)
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        if not named and isinstance(error, FileNotFoundError):
            return FoundToken(None, None)
        raise ClusterError(_unreadable(file, named, str(getattr(error, "strerror", None) or error))) from error
    if not text and named:
        raise ClusterError(_unreadable(file, named, "it is empty"))
    return FoundToken(text or None, file)


def close_to_others(file: Path) -> str | None:
    """Take away from a token's file what anybody but its owner may do with it; a sentence where there was something.

    Ray writes it with the umask's mode, mostly readable by everybody on the machine. A file of another owner stays.
    """
    about = file.stat()
    if about.st_uid != os.getuid() or not stat.S_IMODE(about.st_mode) & 0o077:
        return None
    file.chmod(0o600)
    return f"{file}, Ray's token, could be read by other users of this machine; its mode is 0600 now"


def missing_token(address: str) -> str:
    """The sentence for a cluster that asks for a token where none was found."""
    return (
        f"the cluster at {address!r} asks for Ray's token and none was found here; copy the head's ~/.ray/auth_token to "
        f"this machine's, or name its file with {TOKEN_PATH}"
    )


def wrong_token(address: str) -> str:
    """The sentence for a cluster that refuses the token that was found."""
    return (
        f"the cluster at {address!r} does not take the Ray token that was found here; take the one that 'ray "
        f"get-auth-token' prints on its head, as ~/.ray/auth_token or with {TOKEN_PATH}"
    )


def _unreadable(file: Path, named: str | None, why: str) -> str:
    what = f"{TOKEN_PATH} names {file}, which" if named else f"{file}, Ray's token,"
    return f"{what} cannot be read ({why}); put there what 'ray get-auth-token' prints on the cluster's head"
