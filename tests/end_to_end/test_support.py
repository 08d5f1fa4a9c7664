"""Every protocol on a small model of each family, pooled and colocated, on real data; and docs/support.md says what
came out."""

import os
from pathlib import Path

import pytest
from rich.console import Console

from data_prep import femnist, ham10000, mnist, tudataset
from raysplit.engine.ray.actor_pool import ActorPool
from raysplit.engine.ray.cluster import connect
from raysplit.storage.atomic import write_bytes
from tests.conftest import first_pictures, needs
from tests.end_to_end import support

PAGE = Path(__file__).resolve().parents[2] / "docs" / "support.md"


@pytest.fixture(scope="module")
def sets(test_data, tmp_path_factory):
    """The four sets, prepared; of HAM10000 the first 60 pictures."""
    folder, quiet = tmp_path_factory.mktemp("support"), Console(quiet=True)
    raw = needs(test_data, "TUDataset") / "MUTAG" / "raw"
    femnist.prepare(folder / "femnist.arrow", source=needs(test_data, "femnist"), console=quiet)
    mnist.prepare(folder / "mnist.arrow", source=needs(test_data, "MNIST"), console=quiet)
    tudataset.prepare(folder / "MUTAG.arrow", name="MUTAG", source=raw, console=quiet)
    part = first_pictures(needs(test_data, "HAM10000"), tmp_path_factory.mktemp("ham10000"), 60)
    ham10000.prepare(folder / "ham10000-32.arrow", source=part, size=32, console=quiet)
    return folder


@pytest.fixture(scope="module")
def ray():
    """One cluster and one crew of actors for all cells."""
    with connect(None, 256 << 20, cpus=4) as have, ActorPool() as actor_pool:
        yield have, actor_pool


@pytest.fixture(scope="module")
def cells():
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", support.PROTOCOLS)
def test_a_protocol_runs_on_every_family(sets, ray, cells, protocol):
    for family in support.FAMILIES:
        cells[protocol, family] = support.cell(support.PROTOCOLS[protocol], family, sets, *ray)
    assert any(not found.startswith("refused") for (name, _), found in cells.items() if name == protocol)


@pytest.mark.slow
def test_the_page_says_what_was_found(cells):
    if len(cells) < len(support.PROTOCOLS) * len(support.FAMILIES):
        pytest.skip("not all cells were run")
    page = support.page(cells)
    if os.environ.get("RAYSPLIT_WRITE_SUPPORT"):
        write_bytes(PAGE, page.encode())
    assert PAGE.read_text() == page
