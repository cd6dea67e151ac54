"""What makes two requests the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from headrace_gateway.arms.guardrails import TARGET
from headrace_gateway.arms.split import CANDIDATE, FRESH
from headrace_gateway.cache.plan import CachePlan
from headrace_gateway.calls import GenerateCall
from headrace_gateway.context import RequestContext
from headrace_gateway.routing.plan import ModelPlan
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

_FORMAT = b"1"
"""Changes when an entry made by an older gateway can no longer be read."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer is kept.

    `pool` is the tenant's answers of one model, `exact` this very request, `scope` all requests that differ from it in
    nothing but their last question; None where only the very same one will do. `question` is that question.
    """

    pool: str
    exact: str
    scope: str | None
    question: str


def place_of(ctx: RequestContext, model: ModelPlan, plan: CachePlan, call: GenerateCall) -> Place:
    """The place of a request whose text has passed the input checks, before passages are put into it.

    Rights are part of it: tenant, user, groups, and whether the key reads everything. So are model, arm and policy (by
    the plan's fingerprint; a fresh baseline may have the old one's plan, and begins with no answers), a policy that the
    request adds, and all that was asked; and its metadata where deployments are chosen by conditions. What a release of
    guardrails let through that is only tried is for nobody else.
    """
    identity, options = ctx.identity, call.options
    extra = ctx.table.config.guardrails.get(options.guardrails)
    rights = _digest(
        (
            _FORMAT,
            plan.fingerprint,
            identity.user.encode(),
            *(group.encode() for group in sorted(identity.groups)),
            b"all" if "read_all" in identity.scopes else b"",
            extra.model_dump_json().encode() if extra is not None else b"",
            *(policy.encode() for policy in _of_tenant_and_collections(ctx)),
            call.operation.encode(),
            *(f"{name}={value}".encode() for name, value in sorted(call.metadata.items()) if model.selective),
            *(name.encode() for name in sorted(options.collections)),
            *((FRESH.encode(), ctx.rollout_id.encode()) if ctx.arm == FRESH else ()),
            *_tried(ctx),
        )
    )
    asked = GenerateRequest(messages=call.messages, prompt=call.prompt, sampling=call.sampling)
    exact = _digest((rights, asked.SerializeToString(deterministic=True)))
    question = _take_question(asked)
    scope = _digest((rights, asked.SerializeToString(deterministic=True))).hex() if question else None
    pool = _digest((identity.tenant.encode(), model.name.encode())).hex()
    return Place(pool, exact.hex(), scope, question)


def _tried(ctx: RequestContext) -> tuple[bytes, ...]:
    """Which candidate judges what goes in and out, where one does."""
    if ctx.trial is None or ctx.trial.arm != CANDIDATE:
        return ()
    return (TARGET.encode(), ctx.trial.rollout_id.encode())


def _of_tenant_and_collections(ctx: RequestContext) -> list[str]:
    """What the policies say that hold besides the model's own."""
    config = ctx.table.config
    names = [*ctx.table.tenant(ctx.identity.tenant).guardrails]
    for name, collection in config.collections.items():
        names += [f"{name}:", *collection.guardrails] if collection.guardrails else []
    return [config.guardrails[name].model_dump_json() if name in config.guardrails else name for name in names]


def _take_question(asked: GenerateRequest) -> str:
    """Take the last question out of a request; empty where it has none that stands alone.

    Tools make what is wanted depend on more than the words, and so do images: only the very same request will do.
    """
    if asked.sampling.tools:
        return ""
    if asked.prompt:
        question, asked.prompt = str(asked.prompt), ""
        return question
    last = asked.messages[-1]
    if last.role != "user" or any(part.WhichOneof("part") != "text" for part in last.parts):
        return ""
    question = "\n".join(part.text for part in last.parts)
    del last.parts[:]
    return question


def _digest(parts: Iterable[bytes]) -> bytes:
    made = blake2b(digest_size=16)
    for part in parts:
        made.update(len(part).to_bytes(8))
        made.update(part)
    return made.digest()
