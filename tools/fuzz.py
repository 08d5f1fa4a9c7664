"""Damaged files and strangers' bytes, drawn from a seed, for every reader: each is read or refused in one sentence.

    python tools/fuzz.py --seconds 60 [--seed 0] [--only tables] [--one 1234]

Input number k of a target is a function of (target, seed, k) alone, so ``--only TARGET --one k`` plays a finding again.
What is neither read nor refused in one sentence, takes longer than ten seconds, or half a gigabyte more of memory, or
ends the process, is a finding; each target has a process of its own. Findings are counted by where they were raised,
and make the exit code 1.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.files import TARGETS as FILES
from tests.fuzz.playing import play
from tests.fuzz.sockets import TARGETS as SOCKETS
from tests.fuzz.sockets import play as play_sockets

NAMES = tuple(target.name for target in (*FILES, *SOCKETS))


def fuzz(name: str, seed: int, seconds: float, one: int | None, told: Connection) -> None:
    """Play a target, telling what came of each input."""
    until = time.monotonic() + seconds
    numbers = itertools.count() if one is None else iter([one])
    counted = iter(numbers if one is not None else itertools.takewhile(lambda _: time.monotonic() < until, numbers))
    for target in FILES:
        if target.name == name:
            for finding in play(target, seed, counted):
                told.send(finding)
    for wire in SOCKETS:
        if wire.name == name:
            for finding in play_sockets(wire, seed, counted):
                told.send(finding)
    told.send("done")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=60.0, help="for each target")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", choices=NAMES)
    options.add_argument("--one", type=int)
    chosen = options.parse_args()
    found = False
    for name in NAMES if chosen.only is None else [chosen.only]:
        heard, told = multiprocessing.Pipe(duplex=False)
        work = (name, chosen.seed, chosen.seconds, chosen.one, told)
        process = multiprocessing.get_context("spawn").Process(target=fuzz, args=work)
        process.start()
        told.close()
        tried, findings, last = 0, collections.Counter[str](), None
        first: dict[str, int] = {}
        try:
            while (last := heard.recv()) != "done":
                tried += 1
                if last is not None:
                    findings[last.where] += 1
                    first.setdefault(last.where, last.number)
        except EOFError:
            findings[f"the process ended after {tried} inputs"] += 1
        process.join()
        print(f"{name}: {tried:,} inputs, seed {chosen.seed}, {sum(findings.values())} findings", flush=True)
        for where, count in findings.most_common():
            print(f"  {count} x {where} (first: --only {name} --one {first.get(where, tried)})", flush=True)
        found = found or bool(findings)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
