"""An exception while a client or the main server trains, as whoever reads it elsewhere needs it."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from typing import Literal

from raysplit.errors import UserError

Where = Literal["client", "main server"]
_PACKAGE = str(Path(__file__).resolve().parents[1])
_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")})


class ClientFailure(RuntimeError):
    """An exception inside one client's training, there or at the main server, or, with ``round`` None, when its test
    set is read: whose, where, and the original traceback, which survives the way from a host."""

    def __init__(
        self,
        round: int | None,
        client: int,
        why: str,
        trace: str = "",
        host: str = "this process",
        party: Where = "client",
    ) -> None:
        super().__init__(round, client, why, trace, host, party)
        self.round, self.client, self.why, self.trace, self.host, self.party = round, client, why, trace, host, party

    def __str__(self) -> str:
        where = "on" if self.party == "client" else f"at the {self.party} on"
        when = "evaluation" if self.round is None else f"round {self.round}"
        return f"{when}, client {self.client}, {where} {self.host}: {self.why}"

    def on(self, host: str) -> ClientFailure:
        """The same failure, saying on which host it happened."""
        return type(self)(self.round, self.client, self.why, self.trace, host, self.party)


class ClientMistake(ClientFailure, UserError):
    """A failure that the user can mend, such as an attack of theirs that breaks its contract: ``why`` is a sentence
    that says how."""


def failure_of(round: int | None, client: int, error: Exception, party: Where = "client") -> ClientFailure:
    """What went wrong in a client's step, for whoever reads it elsewhere; of the main server with the user's line.
    ``round`` None: when its test set was read."""
    if isinstance(error, UserError):
        return ClientMistake(round, client, str(error), traceback.format_exc(), party=party)
    line = users_line(error) if party == "main server" else ""
    return ClientFailure(round, client, f"{line}{type(error).__name__}: {error}", traceback.format_exc(), party=party)


def users_line(error: Exception) -> str:
    """``"net.py:12: "``, the innermost line of an exception that is neither RaySplit's nor a library's; else ``""``."""
    frame = _users_frame(traceback.extract_tb(error.__traceback__))
    return "" if frame is None else f"{Path(frame.filename).name}:{frame.lineno}: "


def users_place(stack: traceback.StackSummary) -> str:
    """``"net.py:12, in forward"``: where a stack is, outermost frame first, in the user's own code if it is there at
    all."""
    frame = _users_frame(stack) or (stack[-1] if stack else None)
    return "" if frame is None else f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}"


def _users_frame(stack: traceback.StackSummary) -> traceback.FrameSummary | None:
    return next((f for f in reversed(stack) if not f.filename.startswith((_PACKAGE, *_LIBRARIES, "<"))), None)
