"""What the machine has: memory and NVIDIA GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from headrace_kit.config.deployments import BaseDeployment, TritonGpuDeployment
from headrace_kit.errors import BadInput

GIB = 1 << 30
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_QUERY = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What deployments can use.

    Attributes:
        memory_bytes: of the machine, or of the container where that is less.
        gpus: as `nvidia-smi` lists them.
        gpu_detail: why there are none, or what was seen.
    """

    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    gpu_detail: str = ""


def here(dev: Path = Path("/dev")) -> Machine:
    """Look at this machine."""
    gpus, detail = _gpus(dev)
    return Machine(_memory(), gpus, detail)


def require_gpus(name: str, deployment: BaseDeployment, machine: Machine) -> None:
    """Check that a deployment's GPUs are there.

    Raises:
        BadInput: there are fewer; the message says what is there.
    """
    if not isinstance(deployment, TritonGpuDeployment):
        return
    needed = deployment.parallel.gpus
    if len(machine.gpus) >= needed:
        return
    there = ", ".join(gpu.name for gpu in machine.gpus)
    seen = f"{len(machine.gpus)} ({there})" if there else f"none: {machine.gpu_detail}"
    plural = "GPU" if needed == 1 else "GPUs"
    raise BadInput(
        f"deployments.{name}: engine {deployment.engine} needs {needed} {plural}; this machine has {seen}. "
        "Render it for a machine that has them, or take an engine for CPUs: triton-llamacpp, llamacpp",
        param=f"deployments.{name}.parallel" if needed > 1 else f"deployments.{name}.engine",
    )


def _memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdecimal() else total


def _gpus(dev: Path) -> tuple[tuple[Gpu, ...], str]:
    devices = sorted(path.name for path in dev.glob("nvidia[0-9]*"))
    program = shutil.which("nvidia-smi")
    if program is None:
        seen = f"{', '.join(devices)} in {dev}" if devices else f"no {dev}/nvidia*"
        return (), f"{seen}, and no nvidia-smi to ask"
    try:
        answer = subprocess.run([program, *_QUERY], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"nvidia-smi failed: {error}"
    if answer.returncode != 0:
        return (), f"nvidia-smi says: {(answer.stderr or answer.stdout).strip()[:300]}"
    found = [_gpu(line) for line in answer.stdout.splitlines() if line.strip()]
    return tuple(found), "" if found else "nvidia-smi lists no GPU"


def _gpu(line: str) -> Gpu:
    name, _, mib = line.rpartition(",")
    return Gpu(name.strip(), int(mib) * (1 << 20) if mib.strip().isdecimal() else 0)
