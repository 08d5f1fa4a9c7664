"""A Ray cluster of three nodes on the loopback interface, with a dashboard, in a process of its own: ``python -m
tests.app.submission.three_nodes FOLDER``. It prints its dashboard's address; the line ``kill`` on standard input kills
a worker node, and the end of standard input all."""

from __future__ import annotations

import os
import sys

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's switch that leaves it on the loopback interface

from ray.cluster_utils import Cluster  # only now: it reads the switch

NODE = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "object_store_memory": 100 << 20}


def main(folder: str) -> None:
    head = {**NODE, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": 0, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
    # A session folder each, as on machines of their own: in a shared one they unpack working directories over each other.
    workers = [cluster.add_node(wait=False, temp_dir=f"{folder}{number}", **NODE) for number in (1, 2)]
    print(f"http://{cluster.webui_url}", flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(workers.pop(), allow_graceful=False)
            print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
