"""Following a job from here: its events become what ``raysplit run`` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import ClassVar

from raysplit.app.running.events import Event
from raysplit.app.running.live import Live, ProgressLine
from raysplit.app.submission.log_lines import event_in

KEPT = 30
"""Lines of others in the log that are shown where the job ended without a word of its own."""


class Followed:
    """What a job's log told: ``code``, with which it ended by itself, None where it did not, and a ``sentence`` where that
    was not well."""

    def __init__(self, live: Live) -> None:
        self.code: int | None = None
        self.sentence = ""
        self.others: list[str] = []
        self._live = live
        self._stack = ExitStack()
        self._line: ProgressLine | None = None

    def take(self, line: str) -> None:
        event = event_in(line)
        if event is None:
            self.others = [*self.others[1 - KEPT :], line]
        elif event["event"] in self._show:
            self._show[event["event"]](self, event)

    def close(self) -> None:
        """End the progress line."""
        self._stack.close()
        self._line = None

    def _cluster(self, event: Event) -> None:
        self.others.clear()  # Ray's words about starting the job
        self._live.say(f"  runs lie in {event['folder']} on the cluster's head")
        self._live.print_json(event)

    def _note(self, event: Event) -> None:
        self._live.say(event["sentence"])
        self._live.print_json(event)

    def _restart(self, event: Event) -> None:
        self.close()
        self._live.say(
            f"  the driver was killed by {event['killed']}; it goes on from the newest checkpoint (start "
            f"{event['restart']} of {event['of']})"
        )
        self._live.print_json(event)

    def _scenario(self, event: Event) -> None:
        self.close()
        self._live.place(event["number"], event["of"])
        self._line = self._stack.enter_context(self._live.progress(event["name"]))

    def _progress(self, event: Event) -> None:
        if self._line is not None:
            self._line.show(event)

    def _end(self, event: Event) -> None:
        self.close()
        self._live.show_end(event)

    def _failed(self, event: Event) -> None:
        self.close()
        self._live.say(f"  failed: {event['why']}")
        self._live.print_json(event)

    def _stopped(self, event: Event) -> None:
        self.close()
        self.code, self.sentence = event["code"], event["sentence"]

    def _exit(self, event: Event) -> None:
        self.close()
        self.code = event["code"]

    _show: ClassVar[Mapping[str, Callable[[Followed, Event], None]]] = {
        "cluster": _cluster,
        "note": _note,
        "restart": _restart,
        "scenario": _scenario,
        "begin": _progress,
        "round": _progress,
        "end": _end,
        "failed": _failed,
        "stopped": _stopped,
        "exit": _exit,
    }


def follow(lines: Iterable[str], live: Live) -> Followed:
    """Show a job until its log ends."""
    followed = Followed(live)
    try:
        for line in lines:
            followed.take(line)
    finally:
        followed.close()
    return followed


def last_event(lines: Iterable[str], kind: str) -> Event | None:
    """The newest event of a kind at the end of a log."""
    found = [event for event in map(event_in, lines) if event is not None and event["event"] == kind]
    return found[-1] if found else None
