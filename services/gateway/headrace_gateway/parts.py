"""Parts of messages that are not text, against what a model takes."""

from __future__ import annotations

from headrace_gateway.calls import GenerateCall
from headrace_gateway.routing.plan import ModelPlan
from headrace_kit.errors import BadInput

AUDIO_FORMATS = ("wav", "mp3")


def check_parts(plan: ModelPlan, call: GenerateCall) -> None:
    """Refuse images and audio that a deployment of the model cannot take, before anything is asked.

    Raises:
        BadInput: `param` names the part.
    """
    takes = plan.accepts
    for number, message in enumerate(call.messages):
        for place, part in enumerate(message.parts):
            kind = part.WhichOneof("part")
            if kind != "text" and kind not in takes:
                at = f"{call.place(number)}.content[{place}]"
                has = f"text and {', '.join(takes)}" if takes else "text only"
                raise BadInput(
                    f"{at}: the model {plan.name!r} takes {has}, not {kind}", code="unsupported_content", param=at
                )
