"""Versions that belong together, which Triton's users get wrong first.

A Triton container fixes TensorRT-LLM and vLLM with it, and our rendering is for certain versions of them. Sources:
triton-inference-server/server docs/introduction/compatibility.md and the pull requests that set each release's version
(#8729 for 26.04, #8844 for 26.06, #8876 for 26.07); NVIDIA/TensorRT-LLM#14079 for the model of the LLM API; PyPI for
the rest. What is `run` was run here; the others are checked against code and schemas of that version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Release:
    """One release of Triton and what its containers carry; empty: there is no such container."""

    triton: str
    container: str
    tensorrt_llm: str = ""
    vllm: str = ""


RELEASES: tuple[Release, ...] = (
    Release("2.51.0", "24.10", "0.14.0", "0.5.5"),
    Release("2.68.0", "26.04", "1.2.1", "0.19.0"),
    Release("2.70.0", "26.06", "1.2.1", "0.22.1"),
    Release("2.71.0", "26.07", "1.2.1", "0.24.0"),
    Release("", "26.08", "", "0.27.1"),
)
"""Oldest first. 26.08 has no TensorRT-LLM container, and its server's own version was not found written down."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Versions of one component that the rendering is for: from `least` on, below `below`; `tested` was looked into."""

    component: str
    least: str
    below: str
    tested: str
    run: bool
    remedy: str


_TRITON = Pin("triton", "2.51.0", "3", "2.51.0", True, "requirements/triton.lock has the one that was run")
_PYTHON = Pin("python", "3.11", "3.13", "3.11", True, "Triton's Python backend has stubs for 3.11 and 3.12")
_XLLAMACPP = Pin("xllamacpp", "2026.10", "2027", "2026.10.11549", True, "install what requirements/triton.lock names")
_TRTLLM = "use nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
_VLLM = "use nvcr.io/nvidia/tritonserver:26.08-vllm-python-py3"
_LLMAPI = (
    "the LLM API's model up to 1.2 streams nothing and takes no adapters: put triton_backend/all_models/llmapi of "
    "TensorRT-LLM 1.3 into the image and name its folder in HEADRACE_LLMAPI"
)

PINS: Mapping[str, tuple[Pin, ...]] = MappingProxyType(
    {
        "triton-llamacpp": (_TRITON, _PYTHON, _XLLAMACPP),
        "triton-python": (_TRITON, _PYTHON),
        "triton-scripted": (_TRITON, _PYTHON),
        "llamacpp": (_XLLAMACPP,),
        "triton-tensorrtllm": (
            Pin("triton", "2.68.0", "3", "2.71.0", False, _TRTLLM),
            Pin("tensorrt_llm", "1.2.1", "2", "1.2.1", False, _TRTLLM),
            Pin("llmapi", "1.3.0", "2", "main of July 2026", False, _LLMAPI),
        ),
        "triton-vllm": (
            Pin("triton", "2.71.0", "3", "2.71.0", False, _VLLM),
            Pin("vllm", "0.24.0", "1", "0.27.1", False, _VLLM),
        ),
        "vllm": (Pin("vllm", "0.25.0", "1", "0.32.0", False, "run vllm/vllm-openai:v0.32.0"),),
        "nim": (Pin("nim", "2.0.0", "3", "2.0.12", False, "run a NIM of 2.0 with vLLM inside"),),
        "sglang": (Pin("sglang", "0.5.20", "0.6", "0.5.23", False, "run lmsysorg/sglang:v0.5.23"),),
        "tgi": (Pin("tgi", "3.0.0", "4", "3.x", False, "run ghcr.io/huggingface/text-generation-inference:3.3.6"),),
    }
)
"""Engine -> what it is made of."""


def problems(engine: str, reported: Mapping[str, str]) -> list[str]:
    """What does not fit in versions that an engine reports, each with what to change.

    Args:
        engine: as in the config.
        reported: component -> version, for example what Triton's server metadata says under `triton`. Components that
            are not reported are not checked.
    """
    found = []
    for pin in PINS.get(engine, ()):
        version = reported.get(pin.component)
        if version is None:
            continue
        if not _numbers(version):
            found.append(f"{engine}: {pin.component} reports version {version!r}, which is no version")
        elif not _numbers(pin.least) <= _numbers(version) or not _numbers(version) < _numbers(pin.below):
            found.append(
                f"{engine}: {pin.component} is {version}; the rendering is for {pin.least} up to below {pin.below} "
                f"({pin.tested} was {'run' if pin.run else 'read'}): {pin.remedy}"
            )
    found += _together(engine, reported)
    return found


def _together(engine: str, reported: Mapping[str, str]) -> list[str]:
    """Triton's containers carry one version of each engine; another one beside it is a mix that nobody tested."""
    component = {"triton-tensorrtllm": "tensorrt_llm", "triton-vllm": "vllm"}.get(engine)
    triton, version = reported.get("triton"), reported.get(component or "")
    if component is None or triton is None or version is None:
        return []
    for release in RELEASES:
        carried = release.tensorrt_llm if component == "tensorrt_llm" else release.vllm
        if release.triton and _numbers(release.triton) == _numbers(triton) and carried:
            if _numbers(carried) != _numbers(version):
                return [
                    f"{engine}: Triton {triton} (container {release.container}) carries {component} {carried}, not "
                    f"{version}: take both from one container"
                ]
            return []
    return []


def _numbers(version: str) -> tuple[int, ...]:
    """The release part of a version: `0.24.0+092c.nv26.7` is (0, 24, 0); empty where there is none."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    if match is None:
        return ()
    parts = [int(part) for part in match[1].split(".")]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
