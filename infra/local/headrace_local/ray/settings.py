"""The environment that Ray and Serve read when they are imported, for one machine."""

from collections.abc import Callable
from pathlib import Path

from headrace_kit.config.ports import BLOCK

SESSION = "HEADRACE_RAY_SESSION"
"""Every process of a session carries its folder under this name."""

PATIENCE_S = 180
"""Seconds that a process of Ray may take to start."""

DIRECT, DIRECT_LAST, DIRECT_EACH = 10_000, 19_600, 40
"""Where replicas listen for HAProxy, each taking the first free port: below `headrace_local.ports.FIRST`, so far below
the kernel's ephemeral range that no client connection sits there."""


def direct_ports(base: int) -> tuple[range, range]:
    """Ports of replicas for HTTP and for gRPC, by the first port of the platform's block.

    No two blocks share them. Serve means a replica to have its port alone, but says `grpc.so_reuseport` in a string,
    which gRPC does not read: two platforms would get each other's calls.
    """
    first = DIRECT + base // BLOCK * 2 * DIRECT_EACH % (DIRECT_LAST - DIRECT)
    return range(first, first + DIRECT_EACH), range(first + DIRECT_EACH, first + 2 * DIRECT_EACH)


def variables(folder: Path, port: Callable[[str], int]) -> dict[str, str]:
    """The variables of a session.

    Args:
        folder: the session's own, made by `session.create`.
        port: the number of a port by its name in `headrace_kit.config.ports.OFFSETS`.
    """
    haproxy = folder / "ha"
    http, grpc = direct_ports(port("gateway-http"))
    values: dict[str, str | int | Path] = {
        SESSION: folder,
        # HAProxy in front of the replicas: Ray's Python proxy costs 3-15 times the CPU.
        "RAY_SERVE_ENABLE_HA_PROXY": 1,
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": 1,
        # 127.0.0.1 as the node's address.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": 0,
        # Callers of the cluster's own ports need this token; its default place is the user's home.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": folder / "token",
        "RAY_USAGE_STATS_ENABLED": 0,
        # No idle workers in store: each holds 100 MB.
        "RAY_prestart_worker_first_driver": 0,
        "RAY_num_workers_soft_limit": 0,
        "RAY_SERVE_HAPROXY_BINARY_PATH": folder / "haproxy.sh",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": haproxy / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": haproxy / "admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": haproxy,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": haproxy / "server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": haproxy / "metrics.sock",
        # Nobody listens there: without it HAProxy writes to the machine's syslog.
        "RAY_SERVE_HAPROXY_LOG_TARGET": haproxy / "log.sock",
        "RAY_SERVE_HAPROXY_NBTHREAD": 1,
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": 10,
        # A service holds one connection to Serve: at Ray's default of 100, call 101 waits for another to end.
        "RAY_SERVE_HAPROXY_H2_FE_MAX_CONCURRENT_STREAMS": 4096,
        "RAY_SERVE_HAPROXY_H2_BE_MAX_CONCURRENT_STREAMS": 4096,
        "RAY_SERVE_HAPROXY_STATS_PORT": port("ray-haproxy-stats"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": port("ray-haproxy-metrics"),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": port("ray-proxy-http"),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": port("ray-proxy-grpc"),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": http[0],
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": http[-1],
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": grpc[0],
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": grpc[-1],
        # Ray's Python processes take 5 s of CPU each to import what they need, all at once; on a busy machine its own
        # patience (5 s for a proxy, for one) ends before they have.
        "RAY_gcs_server_request_timeout_seconds": PATIENCE_S,
        "RAY_worker_register_timeout_seconds": PATIENCE_S,
        "RAY_agent_register_timeout_ms": PATIENCE_S * 1000,
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": PATIENCE_S,
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": 30,
        # Ray keeps a stopping replica for 30 s so that load balancers notice; the only one here is told at once.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": 0,
    }
    return {name: str(value) for name, value in values.items()}
