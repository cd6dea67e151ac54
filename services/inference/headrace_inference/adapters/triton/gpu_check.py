"""What the models of vLLM's and TensorRT-LLM's makers cannot do inside Triton, refused by name."""

from __future__ import annotations

from headrace_inference.ports import Generation
from headrace_kit.config.deployments import TritonGpuDeployment
from headrace_kit.errors import BadInput


def check(generation: Generation, config: TritonGpuDeployment) -> None:
    """Refuse what the model in Triton cannot do.

    Raises:
        BadInput: `unsupported`; `param` names the field.
    """
    sampling = generation.sampling
    engine = config.engine
    if generation.adapter and generation.adapter not in config.adapters:
        known = ", ".join(config.adapters) or "none"
        raise _unsupported("adapter", f"the deployment has no adapter {generation.adapter!r}; it has {known}")
    if sampling.n > 1:
        raise _unsupported("n", f"{engine} does not say which choice a piece of text belongs to")
    if sampling.tools:
        _check_tools(generation, config)
    if engine == "triton-tensorrtllm":
        if sampling.top_logprobs is not None:
            raise _unsupported("top_logprobs", f"{engine} reports no log probabilities of tokens")
        if (sampling.response_format or {}).get("type", "text") != "text":
            raise _unsupported("response_format", f"{engine} cannot hold an answer to a form")
    if sampling.seed is not None and sampling.seed < 0 and engine == "triton-tensorrtllm":
        raise _unsupported("seed", f"{engine} takes no seed below 0")
    for number, message in enumerate(generation.messages):
        content = message.get("content")
        for position, part in enumerate(() if isinstance(content, str) or content is None else content):
            kind = {"image_url": "image", "input_audio": "audio"}.get(part["type"])
            if kind is not None and kind not in config.accepts:
                takes = " and ".join(("text", *config.accepts))
                raise _unsupported(
                    f"messages[{number}].content[{position}]", f"the deployment takes {takes}, not {kind}"
                )


def _check_tools(generation: Generation, config: TritonGpuDeployment) -> None:
    sampling = generation.sampling
    if config.tool_parser == "none":
        raise _unsupported("tools", "tools are off for this deployment (tool_parser: none)")
    if sampling.tool_choice not in ("", "auto", "none"):
        raise _unsupported("tool_choice", f"{config.engine} cannot be made to call a tool: use auto")
    if sampling.parallel_tool_calls is False:
        raise _unsupported("parallel_tool_calls", f"{config.engine} cannot be held to one call")


def _unsupported(param: str, message: str) -> BadInput:
    return BadInput(message, code="unsupported", param=param)
