"""Learned routers at run time: a file that was trained offline, checked when the config is compiled.

A cascade asks its `Episode` what to do next and tells it every answer; the first move is a predictive route, each later
one weighs stopping against asking another deployment, by agreement among other signals. See `headrace_router`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace_protos.common.v1.chat_pb2 import Message
from headrace_router import Episode, Router, load


@dataclass(frozen=True, slots=True)
class Learned:
    """A router, ready to serve a model. `tradeoff` is quality (0 to 1) per US dollar."""

    router: Router
    tradeoff: float

    @property
    def dimensions(self) -> int:
        """Length of the embedding that `begin` wants; 0 when it wants none."""
        return self.router.dimensions

    def text_to_embed(self, prompt: str) -> str:
        """The part of a prompt whose embedding `begin` wants."""
        return self.router.text_to_embed(prompt)

    def begin(self, prompt: str, embedding: Sequence[float] | None, deployments: Iterable[str]) -> Episode:
        """Start a request: `next()` says whom to ask or whose answer to give, `saw()` takes an answer, `without()`
        takes a deployment out that failed. Costs less than a millisecond a step.

        Args:
            prompt: as `prompt_of` gives it.
            embedding: of `text_to_embed(prompt)`; None where there is none, which makes the prediction rougher.
            deployments: those that may serve this request.

        Raises:
            ValueError: the embedding has another length than the router's.
        """
        episode = self.router.begin(prompt, embedding, tradeoff=self.tradeoff)
        usable = set(deployments)
        for name in self.router.deployments:
            if name not in usable:
                episode.without(name)
        return episode


def load_learned(file: Path, tradeoff: float, deployments: Iterable[str]) -> Learned:
    """Read the router of a model whose cascade names `deployments`.

    Raises:
        ValueError: the file cannot be read, is no router, or was trained on other deployments; the message names it.
    """
    try:
        router = load(file)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    missing = sorted(set(deployments) - set(router.deployments))
    if missing:
        raise ValueError(
            f"{file}: it was trained on {', '.join(router.deployments)}, not on {', '.join(missing)}: train it "
            "again, or take them out of the cascade"
        )
    return Learned(router, tradeoff)


def prompt_of(messages: Sequence[Message], prompt: str = "") -> str:
    """What a router reads of a request: the texts of all messages in order, the newest last; or the bare prompt."""
    if not messages:
        return prompt
    return "\n".join([part.text for message in messages for part in message.parts if part.text])
