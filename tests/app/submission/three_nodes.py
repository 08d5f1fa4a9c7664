"""A Ray cluster of three nodes on the loopback interface, with a dashboard, in a process of its own: ``python -m
tests.app.submission.three_nodes FOLDER``. It prints its dashboard's address; the line ``kill`` on standard input kills
a worker node with an actor of ours on it, and the end of standard input all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's switch that leaves it on the loopback interface

from ray._private.node import Node  # only now: it reads the switch
from ray._private.utils import write_ray_address
from ray.cluster_utils import Cluster

NODE = {"node_ip_address": "127.0.0.1", "object_store_memory": 100 << 20}


def main(folder: str) -> None:
    head = {
        **NODE,
        "num_cpus": 0,  # actors lie on the worker nodes
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": 0,
        "dashboard_agent_listen_port": 0,  # the usual one may be another cluster's of this machine
        "temp_dir": folder,
    }
    cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
    # As 'ray start' does: else jobs take whatever other cluster they find on this machine.
    write_ray_address(cluster.address, folder)
    # A session folder each, as on machines of their own: in a shared one they unpack working directories over each other.
    workers = [cluster.add_node(wait=False, temp_dir=f"{folder}{number}", num_cpus=2, **NODE) for number in (1, 2)]
    print(f"http://{cluster.webui_url}", flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            busy = next((worker for worker in workers if _has_actors(worker)), None)
            if busy is not None:
                cluster.remove_node(busy, allow_graceful=False)
                workers.remove(busy)
            print("killed" if busy is not None else "none", flush=True)
    cluster.shutdown()


def _has_actors(node: Node) -> bool:
    raylet = node.all_processes["raylet"][0].process.pid
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            said = (process / "cmdline").read_text(errors="replace")
        except OSError:
            continue
        if parent == raylet and said.startswith("ray::ClientHost"):
            return True
    return False


if __name__ == "__main__":
    main(sys.argv[1])
