"""Preparing FEMNIST from end to end, and what its summary says."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_prep.download import Patience
from data_prep.femnist import Summary, describe, prepare
from raysplit.errors import PopulationError
from raysplit.population.arrow import ArrowFile
from tests.data_prep.archives import archive, nist, opened, rows
from tests.data_prep.loopback import Remote, cut, serving, status


def test_a_preparation_over_the_network_survives_cuts_and_errors(
    tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    by_class, by_write, _ = nist()
    files = {"sd19/by_class.zip": archive(by_class), "sd19/by_write.zip": archive(by_write)}
    out = tmp_path / "data" / "femnist.arrow"
    patience = Patience(attempts=2, sleep=lambda seconds: None)
    with serving(Remote(files, mischief=[cut(16384), status(500), status(500)])) as remote:
        mirror = f"{remote.url}/sd19"
        with pytest.raises(Exception, match="kept"):
            prepare(out, mirror=mirror, patience=patience, console=quiet)
        assert not out.exists()
        first = prepare(out, mirror=mirror, patience=patience, console=quiet)
        assert remote.requests[-2][:2] == ("/sd19/by_class.zip", "bytes=16384-")
        asked = len(remote.requests)
        second = prepare(out, mirror=mirror, patience=patience, keep_archives=False, console=quiet)
        assert len(remote.requests) == asked, "kept archives are not fetched again"
    assert first.digest == second.digest and first.users == 3
    assert sorted(file.name for file in out.parent.rglob("*")) == ["femnist.arrow", "femnist.clients.arrow", "sd19"]


def test_preparing_twice_gives_one_digest_and_another_seed_another_split(
    sd19: Path, tmp_path: Path, quiet: Console
) -> None:
    digests = [
        prepare(tmp_path / f"{n}.arrow", source=sd19, seed=seed, console=quiet).digest
        for n, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]
    for k in range(3):
        assert rows(opened(tmp_path / "0.arrow"), k) == rows(opened(tmp_path / "2.arrow"), k)


def test_a_writers_split_does_not_depend_on_the_other_writers(sd19: Path, tmp_path: Path, quiet: Console) -> None:
    prepare(tmp_path / "all.arrow", source=sd19, console=quiet)
    _, by_write, truth = nist()
    alone = {name: image for name, image in by_write.items() if sorted(truth)[1] in name}
    (sd19 / "by_write.zip").write_bytes(archive(alone))
    prepare(tmp_path / "alone.arrow", source=sd19, console=quiet)
    assert np.array_equal(opened(tmp_path / "all.arrow").test(1).x, opened(tmp_path / "alone.arrow").test(0).x)


def test_a_mirror_for_a_source_that_needs_no_download_is_refused(sd19: Path, tmp_path: Path, quiet: Console) -> None:
    with pytest.raises(PopulationError, match="--mirror"):
        prepare(tmp_path / "f.arrow", source=sd19, mirror="http://127.0.0.1:9", console=quiet)


def test_the_summary_shows_our_figures_beside_the_papers_and_why_they_differ(sd19: Path, tmp_path: Path) -> None:
    said = io.StringIO()
    summary = prepare(tmp_path / "f.arrow", source=sd19, console=Console(file=said, width=40))
    assert isinstance(summary, Summary) and summary == describe(tmp_path / "f.arrow")
    for figure in ("3,550", "805,263", "226.83", "88.94", "817,851", "3,597", "12.00", "36"):
        assert figure in said.getvalue()
    assert 817_851 - 3_596 == 814_255 and 3_597 // 50 * 50 == 3_550


def test_describing_a_damaged_file_says_so(sd19: Path, tmp_path: Path, quiet: Console) -> None:
    prepare(tmp_path / "f.arrow", source=sd19, console=quiet)
    content = bytearray((tmp_path / "f.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "f.arrow").write_bytes(content)
    with pytest.raises(PopulationError, match="damaged"):
        describe(tmp_path / "f.arrow")


def test_the_real_writers_arrive_whole(real_femnist: ArrowFile, test_data: Path) -> None:
    summary = describe(real_femnist.file())
    assert (summary.users, summary.train, summary.test) == (212, 29_224, 3_358)
    assert (round(summary.mean, 2), round(summary.sd, 2)) == (153.69, 43.33)
    population = real_femnist.open()
    names = {population.name(k): k for k in range(212)}
    for part in ("train", "test"):
        file = next(iter(sorted((test_data / "femnist" / part).glob("all_data_7_*.json"))))
        content = json.loads(file.read_text())
        for user in content["users"]:
            got = population.train(names[user]) if part == "train" else population.test(names[user])
            assert np.array_equal(got.x.numpy().reshape(-1, 784) / 255, np.asarray(content["user_data"][user]["x"]))
            assert got.y.tolist() == content["user_data"][user]["y"]


def test_each_real_writer_has_one_image_twice_as_the_summary_says(real_femnist: ArrowFile) -> None:
    population = real_femnist.open()
    straddling = 0
    for k in range(population.info.clients):
        train = [hashlib.md5(x.numpy().tobytes()).digest() for x in population.train(k).x]
        test = [hashlib.md5(x.numpy().tobytes()).digest() for x in population.test(k).x]
        assert len(train) + len(test) - len({*train, *test}) == 1
        straddling += len({*train} & {*test})
    assert straddling == 40
