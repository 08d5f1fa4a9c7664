"""Frontiers of which no point could be made, and what the command does not know."""

from __future__ import annotations

from pathlib import Path

from tests.errors.making import CASES, TINY, scenario

BASE = TINY.replace("scenario = Scenario(", "base = Scenario(").replace('cut="V2"', 'cut="V1"')


def frontiers(name: str, fields: str, *options: str) -> None:
    """``TINY`` as the base of a frontier."""

    def make(here: Path) -> list[str]:
        scenario(here, f"{BASE}\nfrontier = Frontier({fields})\n")
        return ["frontier", "tiny.py", "--engine", "local", *options]

    CASES[name] = make


ONE = 'base=base, cuts=["V1"], defenses={"none": None}'

frontiers("frontier-cut", 'base=base, cuts=["V1", "V7"], defenses={"none": None}')
frontiers("frontier-defense", 'base=base, cuts=["V1"], defenses={"flip": SignFlip()}')
frontiers("frontier-change", 'base=base, cuts=["V1"], defenses={"slow": {"training.rate": 0.1}}')
frontiers("frontier-own-field", 'base=base, cuts=["V1"], defenses={"deep": {"model.cut": "V3"}}')
frontiers("frontier-refused", 'base=base, cuts=["V1", "V2"], defenses={"none": None, "marvell": Marvell()}')
frontiers("frontier-attacked", 'base=base.replace(attack=SignFlip()), cuts=["V1"], defenses={"none": None}')
frontiers("frontier-no-cut", 'base=base.replace(protocol=FedAvg()), cuts=["V1"], defenses={"none": None}')
frontiers("frontier-names", 'base=base, cuts=["V1"], defenses={"top k": None, "top-k": TopK(0.1)}')
frontiers("frontier-attack-kind", f'{ONE}, attacks={{"flip": SignFlip()}}')
frontiers("frontier-attack-round", f'{ONE}, attacks={{"labels": ClusterLabels()}}')
frontiers("frontier-measure", ONE, "--x", "speed")
frontiers("frontier-only", ONE, "--only", "tiny-V9-none")


def _none(here: Path) -> list[str]:
    scenario(here, TINY)
    return ["frontier", "tiny.py", "--engine", "local"]


CASES["frontier-none"] = _none
