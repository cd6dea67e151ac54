"""kubectl and helm, as the tests use them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


class KubeError(AssertionError):
    """A command failed; the message has its output."""


@dataclass(frozen=True)
class Kube:
    """One namespace of a cluster."""

    environment: Mapping[str, str]
    namespace: str

    def run(
        self, program: str, *words: str, stdin: str | None = None, timeout_s: float = 120, check: bool = True
    ) -> str:
        """Standard output of a command. Raises KubeError when it fails."""
        command = [program, "--namespace", self.namespace, *words]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, **self.environment},
        )
        if check and done.returncode != 0:
            raise KubeError(f"{' '.join(command[:8])} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def kubectl(self, *words: str, stdin: str | None = None, timeout_s: float = 120, check: bool = True) -> str:
        """Run kubectl in the namespace."""
        return self.run("kubectl", *words, stdin=stdin, timeout_s=timeout_s, check=check)

    def helm(self, *words: str, timeout_s: float = 900, check: bool = True) -> str:
        """Run helm in the namespace."""
        return self.run("helm", *words, timeout_s=timeout_s, check=check)

    def get(self, *words: str) -> Any:
        """Objects as kubectl prints them in JSON."""
        return json.loads(self.kubectl("get", *words, "--output", "json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(listed))

    def pods(self, component: str) -> list[dict[str, Any]]:
        """The pods of a component that are not about to end."""
        label = f"app.kubernetes.io/component={component}"
        return [pod for pod in self.get("pods", "-l", label)["items"] if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, component: str) -> int:
        """How many of a component's pods are ready."""
        return sum(ready(pod) for pod in self.pods(component))

    @contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        """A port on loopback that leads to a port of a pod or Service."""
        command = [
            "kubectl",
            "--namespace",
            self.namespace,
            "port-forward",
            "--address",
            "127.0.0.1",
            target,
            f":{port}",
        ]
        environment = {**os.environ, **self.environment}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as run:
            try:
                assert run.stdout is not None
                line = run.stdout.readline()
                if "Forwarding from" not in line:
                    raise KubeError(f"port-forward {target}: {line}")
                yield int(line.split("127.0.0.1:")[1].split(" ")[0])
            finally:
                run.terminate()

    def told(self) -> str:
        """What somebody wants to see when something went wrong: pods, events, the ends of logs."""
        parts = [
            self.kubectl("get", "pods,jobs,pvc", "--output", "wide", check=False),
            self.kubectl(
                "get", "events", "--field-selector", "type=Warning", "--sort-by", ".lastTimestamp", check=False
            )[-4000:],
        ]
        try:
            unready = [
                pod for pod in self.get("pods")["items"] if not ready(pod) and pod["status"]["phase"] != "Succeeded"
            ]
        except KubeError:
            unready = []
        for pod in unready[:6]:
            name = pod["metadata"]["name"]
            log = self.kubectl("logs", name, "--all-containers", "--prefix", "--tail", "15", check=False)
            parts.append(f"--- {name}\n{log[-3000:]}")
        return "\n".join(parts)


def ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is ready."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def wait(what: str, so: Callable[[], Any], timeout_s: float, every_s: float = 0.5) -> Any:
    """What a function returns once that is true; what it raises meanwhile counts as no.

    Raises:
        KubeError: never within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            if found := so():
                return found
        except (AssertionError, OSError, KeyError, IndexError, ValueError) as error:
            last = error
        time.sleep(every_s)
    raise KubeError(f"{what}: not within {timeout_s:.0f} s; last: {last}")
