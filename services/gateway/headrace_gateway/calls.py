"""What a caller asks for, as the pipeline sees it: the same from HTTP and from gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace_protos.common.v1.chat_pb2 import Message, Sampling

CHAT = "chat"
COMPLETION = "completion"
RESPONSE = "response"
EMBEDDING = "embedding"
RERANK = "rerank"


@dataclass(frozen=True, slots=True)
class Options:
    """What headrace adds to OpenAI's request (`headrace.gateway.v1.HeadraceOptions`).

    `cache` is `bypass`, `refresh` or `use`; empty leaves it to the model. `rollout` and `arm` are for services only.
    """

    collections: tuple[str, ...] = ()
    guardrails: str = ""
    conversation_id: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    route: str = ""
    cache: str = ""
    rollout: str = ""
    arm: str = ""


@dataclass(slots=True)
class GenerateCall:
    """A request for text. `messages`, or a bare `prompt`; stages of the pipeline replace their text.

    `operation` is `chat`, `completion` or `response`. `places` names each message by the caller's own field, where
    that is not `messages[number]`. `end_user` is OpenAI's `user`: it steers the sticky key and proves nothing.
    """

    model: str
    operation: str = CHAT
    messages: list[Message] = field(default_factory=list)
    prompt: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    options: Options = field(default_factory=Options)
    end_user: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False
    places: Sequence[str] = ()

    def place(self, number: int) -> str:
        """The field of a message, for errors that name it. Messages that a stage put in front are not counted."""
        return self.places[number] if self.places else f"messages[{number}]"


@dataclass(slots=True)
class EmbedCall:
    """A request for vectors. `dimensions` 0 keeps all."""

    model: str
    texts: Sequence[str]
    dimensions: int = 0
    end_user: str = ""


@dataclass(slots=True)
class RerankCall:
    """A request for an order of documents. `top_n` 0 keeps all."""

    model: str
    query: str
    documents: Sequence[str]
    top_n: int = 0
