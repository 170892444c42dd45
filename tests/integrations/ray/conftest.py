"""One local cluster of two nodes for the tests of a module, on 127.0.0.1, and no process of it left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray._private import ray_constants
from ray.cluster_utils import Cluster

STORE = 80 * 2**20  # bytes of shared memory a node, as little as Ray takes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of two processors; this process is connected with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # as `surrogate_ax_ray.cluster` has it
        patch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        node = {"node_ip_address": "127.0.0.1", "num_cpus": 2, "object_store_memory": STORE, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=node)
        try:
            made.add_node(**node)
            ray.init(address=made.address, configure_logging=False, log_to_driver=False, _node_ip_address="127.0.0.1")
            yield made
        finally:
            ray.shutdown()
            made.shutdown()
