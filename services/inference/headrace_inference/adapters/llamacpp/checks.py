"""What a llama.cpp deployment cannot do, wherever it runs."""

from __future__ import annotations

from headrace_inference.ports import Generation
from headrace_inference.triton_models.llamacpp import limits
from headrace_inference.triton_models.shared.failures import RequestFailed
from headrace_kit.config.deployments import LlamaCppDeployment
from headrace_kit.errors import BadInput


def check(generation: Generation, config: LlamaCppDeployment) -> None:
    """Refuse it, as `Engine.check`.

    Raises:
        BadInput: `unsupported`; `param` names the field.
    """
    sampling = generation.sampling
    document = {
        "n": sampling.n,
        "messages": generation.messages,
        "tools": sampling.tools,
        "tool_choice": sampling.tool_choice,
        "adapter": generation.adapter,
    }
    settings = {"slots": config.slots, "tool_parser": config.tool_parser, "adapters": config.adapters}
    try:
        limits.check(document, settings)
    except RequestFailed as failure:
        raise BadInput(failure.message, code=failure.code, param=failure.param) from failure
