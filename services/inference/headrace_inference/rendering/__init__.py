"""From typed deployments to what engines read: Triton model repositories, settings, command lines.

A module an engine, each with the sources of its mapping; `artefacts` renders one deployment, `triton.render` all that
run on this machine's Triton, `repository` keeps versions of models on disk, `memory` and `machine` say whether it fits.
"""

from headrace_inference.rendering.artefacts import ON_CPU, Artefacts, artefacts, check
from headrace_inference.rendering.machine import Machine, here
from headrace_inference.rendering.memory import Estimate, require_fit
from headrace_inference.rendering.model import Rendered
from headrace_inference.rendering.places import Files, Places
from headrace_inference.rendering.repository import differs, newest, prune, remove, write_next
from headrace_inference.rendering.triton import render, render_deployment

__all__ = [
    "ON_CPU",
    "Artefacts",
    "Estimate",
    "Files",
    "Machine",
    "Places",
    "Rendered",
    "artefacts",
    "check",
    "differs",
    "here",
    "newest",
    "prune",
    "remove",
    "render",
    "render_deployment",
    "require_fit",
    "write_next",
]
