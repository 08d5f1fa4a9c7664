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
WRITE = bool(os.environ.get("RAYSPLIT_WRITE_SUPPORT"))


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
    """What was found, for a page to write anew."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", support.PROTOCOLS)
def test_a_protocol_runs_on_every_family_as_the_page_says(sets, ray, cells, protocol):
    said = {} if WRITE else support.cells_of(PAGE.read_text())
    for family in support.FAMILIES:
        found = cells[protocol, family] = support.cell(support.PROTOCOLS[protocol], family, sets, *ray)
        assert WRITE or found == said[protocol, family], family
    assert any(not cells[protocol, family].startswith("refused") for family in support.FAMILIES)


@pytest.mark.slow
def test_the_page_is_what_its_cells_make(cells):
    """Each cell is tested above, wherever that runs; here that the page has these, their notes and nothing else."""
    if WRITE:
        assert len(cells) == len(support.PROTOCOLS) * len(support.FAMILIES), "a page needs every cell"
        write_bytes(PAGE, support.page(cells).encode())
    assert support.page(support.cells_of(PAGE.read_text())) == PAGE.read_text()
