"""A Ray head node of one machine, with nothing in it that Serve can do without.

`ray.init()` starts a node too, but it names no ports, and it adds a dashboard process, a log monitor and an autoscaler
(together some 300 MB) that nobody here looks at. This class of Ray's is private: the lock file pins the version, and
`tests/integration/test_ray_host.py` starts it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Little more than Ray's minimum: calls between services go over gRPC, not through the object store."""


@dataclass(frozen=True)
class NodePlan:
    """Where a node lives.

    `ports` are by the names of `headrace_kit.config.ports.OFFSETS`. `folder` has a short path: sockets lie below it,
    and the kernel takes at most 107 bytes.
    """

    host: str
    ports: Mapping[str, int]
    folder: Path
    num_cpus: int


class HeadNode:
    """The node's processes. They die with the thread that made this object; `stop()` ends them before that."""

    def __init__(self, plan: NodePlan) -> None:
        from ray import _raylet
        from ray._private.node import Node
        from ray._private.parameter import RayParams

        raylet: Any = _raylet
        ports = plan.ports
        agents = {
            raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME: ports["ray-agent-http"],
            raylet.METRICS_AGENT_PORT_NAME: ports["ray-agent-grpc"],
            raylet.METRICS_EXPORT_PORT_NAME: ports["ray-metrics"],
            raylet.RUNTIME_ENV_AGENT_PORT_NAME: ports["ray-runtime-env"],
        }

        class Head(Node):
            """What differs from a node of `ray.init()`."""

            def start_api_server(self, **_: Any) -> None:
                """No dashboard, which Ray starts even when told not to include it."""

            def start_raylet(self, *args: Any, **options: Any) -> None:
                """The raylet dies unless its agents have written their ports to files within 15 s of its start.

                They are known beforehand, and on a busy machine the agents take longer to import what they need.
                """
                for name, number in agents.items():
                    raylet.persist_port(self._session_dir, self.node_id, name, number)
                super().start_raylet(*args, **options)

        self.address = f"{plan.host}:{plan.ports['ray-gcs']}"
        params: Any = RayParams
        self._node: Any = Head(
            params(
                node_ip_address=plan.host,
                gcs_server_port=ports["ray-gcs"],
                node_manager_port=ports["ray-node"],
                object_manager_port=ports["ray-objects"],
                dashboard_agent_listen_port=ports["ray-agent-http"],
                metrics_agent_port=ports["ray-agent-grpc"],
                runtime_env_agent_port=ports["ray-runtime-env"],
                metrics_export_port=ports["ray-metrics"],
                min_worker_port=0,
                max_worker_port=0,
                num_cpus=plan.num_cpus,
                num_gpus=0,
                object_store_memory=OBJECT_STORE_BYTES,
                temp_dir=str(plan.folder),
                include_dashboard=False,
                include_log_monitor=False,
                no_monitor=True,
            ),
            head=True,
            shutdown_at_exit=False,
            spawn_reaper=True,
        )

    def dead(self) -> list[str]:
        """Names of the node's own processes that have ended."""
        return [name for name, _ in self._node.dead_processes()]

    def stop(self) -> None:
        """End the node's processes, politely first."""
        self._node.kill_all_processes(check_alive=False, allow_graceful=True)


def end_children(grace_s: float = 5) -> None:
    """End whatever is still below this process; only a subreaper has its orphans there too."""
    deadline = time.monotonic() + grace_s
    number = signal.SIGTERM
    while children := _children():
        for pid in children:
            try:
                if not os.waitpid(pid, os.WNOHANG)[0]:
                    os.kill(pid, number)
            except (ChildProcessError, ProcessLookupError):
                continue
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(0.05)


def _children() -> list[int]:
    listed = []
    for task in Path("/proc/self/task").iterdir():
        try:
            listed += [int(pid) for pid in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue  # the thread has ended
    return listed
