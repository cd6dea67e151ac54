"""Python runs this in every process of a local Ray session (it is on their PYTHONPATH).

Ray's gRPC servers bind `[::]` whatever host Serve is given: grpc.aio binds 127.0.0.1 instead.
"""

import importlib.machinery
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from typing import Any

_ANYWHERE = ("[::]:", "0.0.0.0:")

# jsonschema, which Ray imports in each of its processes, builds a grammar of IRIs with this package where it is
# installed: 3 s of CPU per process. Without it, it does not check the format "iri", as in a plain installation.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]


class _OnLoopback(MetaPathFinder):
    """Changes `grpc.aio._server` when it is imported, so that a process without gRPC does not pay for it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "grpc.aio._server":
            return None
        sys.meta_path.remove(self)
        spec: Any = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            add_insecure_port = module.Server.add_insecure_port

            def on_loopback(server: Any, address: str) -> Any:
                for anywhere in _ANYWHERE:
                    if address.startswith(anywhere):
                        address = f"127.0.0.1:{address.removeprefix(anywhere)}"
                return add_insecure_port(server, address)

            module.Server.add_insecure_port = on_loopback

        spec.loader.exec_module = exec_module
        return spec


def _run_the_hidden_one() -> None:
    """Run the sitecustomize that this file stands before, where the installation has one."""
    here = __file__.rpartition("/")[0]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", [entry for entry in sys.path if entry != here])
    if spec and spec.loader and spec.origin != __file__:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _OnLoopback())
_run_the_hidden_one()
