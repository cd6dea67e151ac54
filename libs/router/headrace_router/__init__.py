"""Learned cascades: which deployment to ask next, by the prompt and the answers so far. Serving needs numpy alone."""

from headrace_router.answers import Answer
from headrace_router.file import FORMAT, RouterInvalid, load, save
from headrace_router.router import Episode, Router, Step

__all__ = ["FORMAT", "Answer", "Episode", "Router", "RouterInvalid", "Step", "load", "save"]
