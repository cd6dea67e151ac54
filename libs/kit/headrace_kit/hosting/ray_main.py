"""`python -m headrace_kit.hosting.ray_main`: Ray, Serve and the services of one machine under one process.

It answers `/readyz` on the port `ray-ops` once every application can be called. On SIGTERM or SIGINT it lets open
calls end, then stops everything that it started. Set `RAY_*` variables before (see `headrace_local.ray`): Ray reads
them when it is imported.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from headrace_kit.config import Config, ConfigStore, Environment
from headrace_kit.config.ports import OFFSETS, SERVICES
from headrace_kit.errors import HeadraceError
from headrace_kit.hosting.ray_app import ApplicationArgs, built, route_prefix
from headrace_kit.hosting.ray_node import HeadNode, NodePlan, end_children
from headrace_kit.hosting.ray_ready import ReadyPort, add_functions, unroutable
from headrace_kit.telemetry.logs import set_up_logs

_log = logging.getLogger(__name__)
_ROUTES_S = 60
_WATCH_S = 5.0


class _StopAsked(BaseException):
    """SIGTERM or SIGINT."""


def run(services: Sequence[str], folder: Path) -> None:
    """Serve `services` until SIGTERM or SIGINT.

    Args:
        services: names, in the order in which their applications are deployed.
        folder: of this session, with a short path; removed at the end. Ray's files go to `ray` in it, and after a
            failure its logs are kept in the data folder.

    Raises:
        ConfigInvalid: the config file cannot be used.
        OSError: a port is taken.
        RuntimeError: Ray or an application did not come up, or died later; Ray has errors of its own for that too.
    """
    env = Environment(runtime="ray")
    set_up_logs("ray", env.log_level)
    config = ConfigStore.from_file(env.config).current.config
    problems = ["starting"]
    failed = True
    with contextlib.ExitStack() as ended:
        ended.callback(lambda: _remove(folder, env.data_dir / "logs" / "ray", keep_logs=failed))
        ended.enter_context(ReadyPort(env.host, env.port("ray-ops"), lambda: problems))
        ended.callback(end_children)
        try:
            _raise_when_told_to_stop()
            started = time.monotonic()
            platform = ended.enter_context(_platform(env, config, folder))
            platform.deploy(services)
            platform.wait_for_routes(services)
            _log.info("serving", extra={"seconds": round(time.monotonic() - started, 1)})
            problems = []
            while True:
                time.sleep(_WATCH_S)
                problems = platform.problems(services)
        except _StopAsked:
            failed = False
            problems = ["stopping"]
            _log.info("stopping")


class _Platform:
    """Ray and Serve, started."""

    def __init__(self, env: Environment, config: Config, node: HeadNode) -> None:
        listen = config.services.gateway.listen
        self._config = config
        self._node = node
        # Serve's two ports are the gateway's.
        self._host = listen.host or env.host
        self._http_port = env.port("gateway-http") if listen.http_port is None else listen.http_port
        self._grpc_port = env.port("gateway-grpc") if listen.grpc_port is None else listen.grpc_port

    def deploy(self, services: Sequence[str]) -> None:
        """Bring all applications up at once; returns when their replicas run."""
        from ray import serve

        _log.info("starting Serve")
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": self._host, "port": self._http_port},
            grpc_options={"port": self._grpc_port, "grpc_servicer_functions": add_functions()},
            logging_config={"enable_access_log": False},
        )
        targets = [
            serve.RunTarget(
                target=built(
                    ApplicationArgs(
                        service=name,
                        drain_s=getattr(self._config.services, name).drain_s,
                        # Replicas log where this process does.
                        stderr=f"/proc/{os.getpid()}/fd/2",
                    )
                ),
                name=name,
                route_prefix=route_prefix(name),
            )
            for name in services
        ]
        _log.info("deploying")
        serve.run_many(targets)

    def wait_for_routes(self, services: Sequence[str]) -> None:
        """Return when Serve's gRPC port brings calls to every application: its HAProxy learns of them a little later.

        Raises:
            RuntimeError: it does not within a minute.
        """
        address = f"{self._host}:{self._grpc_port}"
        deadline = time.monotonic() + _ROUTES_S
        while missing := unroutable(address, services):
            if time.monotonic() > deadline:
                raise RuntimeError(f"no route to {', '.join(missing)} after {_ROUTES_S} s")
            time.sleep(0.2)

    def problems(self, services: Sequence[str]) -> list[str]:
        """Applications that do not run.

        Raises:
            RuntimeError: a part of Ray itself has died; only a new start helps.
        """
        from ray import serve

        if dead := self._node.dead():
            raise RuntimeError(f"Ray's {', '.join(dead)} died")
        states = serve.status().applications
        return [
            f"{name}: {states[name].status.value.lower() if name in states else 'gone'}"
            for name in services
            if name not in states or states[name].status != "RUNNING"
        ]


@contextlib.contextmanager
def _platform(env: Environment, config: Config, folder: Path) -> Iterator[_Platform]:
    import ray

    files = folder / "ray"
    files.mkdir(exist_ok=True, mode=0o700)
    ports = {name: env.port(name) for name in OFFSETS if name.startswith("ray-")}
    node = HeadNode(NodePlan(host=env.host, ports=ports, folder=files, num_cpus=os.cpu_count() or 1))
    try:
        ray.init(
            address=node.address,
            namespace="headrace",
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.WARNING,
        )
        _raise_when_told_to_stop()  # again: Ray has handlers of its own now, which print a stack
        yield _Platform(env, config, node)
    finally:
        _quietly(_shut_serve_down)
        _quietly(ray.shutdown)
        node.stop()


def _import_serve() -> Any:
    from ray import serve

    return serve


def _shut_serve_down() -> None:
    serve: Any = _import_serve()
    serve.shutdown()


def _quietly(step: Any) -> None:
    """What is left after a failed step is killed with the node."""
    try:
        step()
    except Exception as error:
        _log.warning("while stopping: %s", error)


def _raise_when_told_to_stop() -> None:
    """Have SIGTERM and SIGINT raise `_StopAsked`, once; more of them are ignored while everything stops."""

    def ask(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise _StopAsked(number)

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)


def _remove(folder: Path, logs: Path, *, keep_logs: bool) -> None:
    if keep_logs:
        shutil.rmtree(logs, ignore_errors=True)
        for session in (folder / "ray").glob("session_2*"):
            with contextlib.suppress(OSError):
                shutil.copytree(session / "logs", logs, dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Parse the arguments and serve; exits with 1 and one line when the config, a port or Ray is at fault."""
    parser = argparse.ArgumentParser(prog="headrace serve", description="Serve all services on Ray, on this machine.")
    parser.add_argument("--services", default=",".join(SERVICES), help="names, with commas (default: all)")
    parser.add_argument("--folder", type=Path, help="folder of this session, removed at the end")
    arguments = parser.parse_args()
    services = arguments.services.split(",")
    if unknown := sorted(set(services) - set(SERVICES)):
        parser.error(f"no such service: {', '.join(unknown)}; there are {', '.join(SERVICES)}")
    try:
        run(services, arguments.folder or Path(tempfile.mkdtemp(prefix="hr-ray-", dir="/tmp")))
    except (HeadraceError, OSError) as error:
        sys.exit(f"headrace: {error}")
    except Exception as error:
        _log.exception("Ray failed")
        sys.exit(f"headrace: {str(error).splitlines()[0] if str(error) else type(error).__name__}")


if __name__ == "__main__":
    main()
