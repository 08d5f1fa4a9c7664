import pytest

from raysplit.engine.placement import Resources, Wanted, lay_out
from raysplit.errors import ClusterError
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.toys import toy

CPUS = Resources(cpus=16, gpus=0)
GPU = Resources(cpus=16, gpus=1)


def laid(protocol, have=CPUS, clients=40, **wanted):
    layout = lay_out(toy(protocol, clients=clients), have, Wanted(**wanted))
    return layout.hosts, layout.servers, layout.placement


@pytest.mark.parametrize(
    "protocol,expected",
    [
        (FedAvg(), (8, 0, "colocated")),
        (SplitFedV1(), (8, 0, "colocated")),
        (SplitFedV2(), (8, 1, "pooled")),
        (SplitLearning(), (1, 0, "colocated")),
        (Centralized(), (1, 0, "colocated")),
    ],
    ids=repr,
)
def test_a_protocol_gets_the_hosts_that_it_can_use(protocol, expected):
    """40 clients are 8 groups, and 16 CPUs are room enough."""
    assert laid(protocol) == expected


def test_hosts_and_servers_share_the_cpus():
    """A server reserves a core where there are eight or more; on fewer the system shares them out."""
    assert laid(SplitFedV2(), Resources(8, 0)) == (7, 1, "pooled")
    assert laid(SplitFedV1(), Resources(8, 0), placement="pooled") == (6, 2, "pooled")
    assert laid(SplitFedV2(), Resources(4, 0)) == (4, 1, "pooled")
    small, large = (lay_out(toy(SplitFedV2()), Resources(cpus, 0), Wanted()) for cpus in (4, 8))
    assert (small.cpus_per_server, large.cpus_per_server) == (0, 1)
    assert laid(FedAvg(), Resources(2, 0)) == (2, 0, "colocated")


def test_a_shared_server_beside_its_clients_needs_one_process():
    assert laid(SplitFedV2(), placement="colocated") == (1, 0, "colocated")


def test_more_hosts_than_groups_are_cut_down_and_the_reason_is_told():
    layout = lay_out(toy(FedAvg(), clients=3), CPUS, Wanted(hosts=9))
    assert layout.hosts == 3
    assert "9 hosts were asked for, but a cohort has 3 client groups" in layout.why
    assert "one after another" in lay_out(toy(SplitLearning()), CPUS, Wanted(hosts=2)).why


def test_a_gpu_is_shared_by_four_unless_told_otherwise():
    layout = lay_out(toy(FedAvg(), clients=40), GPU, Wanted())
    assert (layout.hosts, layout.gpus_per_host) == (4, 0.25)
    assert lay_out(toy(FedAvg(), clients=40), GPU, Wanted(gpus_per_host=0.5)).hosts == 2
    assert lay_out(toy(FedAvg(), clients=40), GPU, Wanted(gpus_per_host=0)).hosts == 8
    assert lay_out(toy(SplitFedV2(), clients=40), GPU, Wanted()).hosts == 3, "the server takes a share too"


@pytest.mark.parametrize(
    "protocol,have,wanted,words",
    [
        (FedAvg(), CPUS, Wanted(gpus_per_host=0.5), "the cluster has no GPU"),
        (FedAvg(), GPU, Wanted(gpus_per_host=2.0), "2 GPUs a host were asked for, but the cluster has 1"),
        (FedAvg(), CPUS, Wanted(placement="pooled"), "FedAvg has no server portion to pool"),
        (FedAvg(), CPUS, Wanted(hosts=0), "--hosts must be at least 1"),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_in_one_sentence(protocol, have, wanted, words):
    with pytest.raises(ClusterError, match=words) as caught:
        lay_out(toy(protocol), have, wanted)
    assert "\n" not in str(caught.value)
