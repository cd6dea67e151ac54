"""What a request can cost at most, before anything is known but its text and its model."""

from __future__ import annotations

from headrace_gateway.routing.plan import ModelPlan, Target
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

_IMAGE_TOKENS = 4096
_TEMPLATE_TOKENS = 64
_TURN_TOKENS = 16
_BYTES_PER_TOKEN = 4


def most_input(request: GenerateRequest) -> int:
    """More input tokens than the request can have, in whichever tokeniser.

    No byte-level tokeniser makes more tokens than there are bytes; a template adds some for each turn. Images count by
    piece, as their bytes say nothing.
    """
    size = request.ByteSize()
    for message in request.messages:
        for part in message.parts:
            if part.WhichOneof("part") != "text":
                size += _IMAGE_TOKENS - part.ByteSize()
    return size + _TEMPLATE_TOKENS + _TURN_TOKENS * len(request.messages)


def likely_tokens(request: GenerateRequest, inputs: int, target: Target) -> int:
    """Tokens that a limit counts in advance: four bytes a token of input (`most_input`), and all output that is asked
    for."""
    return inputs // _BYTES_PER_TOKEN + most_output(request, target)


def most_output(request: GenerateRequest, target: Target) -> int:
    """The most output tokens on a deployment, over all choices."""
    sampling = request.sampling
    asked = sampling.max_tokens if sampling.HasField("max_tokens") else 0
    return (asked or target.max_output_tokens) * max(1, sampling.n)


def bound(target: Target, inputs: int, outputs: int, *, whole: bool = False) -> int:
    """The most that a call can cost, in nano-dollars.

    A prompt is at most as long as the deployment's context; `whole` says that the input is several texts.
    """
    input_price, output_price = target.price.most_nano_usd
    if not whole and target.context_tokens and inputs > target.context_tokens:
        inputs = target.context_tokens
    return inputs * input_price + outputs * output_price


def bound_of_plan(plan: ModelPlan, request: GenerateRequest, inputs: int) -> int:
    """The most that a request can cost over all stages of a cascade, with a fallback in place of the last one.

    Tries that are billed although they failed come on top, and are covered when they are made.
    """
    last = 0
    total = 0
    for stage in plan.stages:
        last = _dearest(stage.pool.targets, request, inputs)
        total += last
    for pool in plan.fallbacks:
        dearer = _dearest(pool.targets, request, inputs)
        if dearer > last:
            total += dearer - last
            last = dearer
    return total


def _dearest(targets: tuple[Target, ...], request: GenerateRequest, inputs: int) -> int:
    return max([bound(target, inputs, most_output(request, target)) for target in targets])
