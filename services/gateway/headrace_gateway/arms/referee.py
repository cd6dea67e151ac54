"""Has a model say which of two answers to one request is better."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace_evals import comparing
from headrace_evals.comparing import NoVerdict
from headrace_gateway.arms.split import JudgeLimits
from headrace_gateway.calls import GenerateCall
from headrace_gateway.context import Arrival, RequestContext, error_code, open_request
from headrace_kit.errors import HeadraceError, row
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, ResponseFormat, Sampling

JUDGES = "headrace.shadow.judges"
"""In the trace of a question to a judge: the copy whose answer it is about."""

_FORM = json.dumps(comparing.SCHEMA)

Ask = Callable[[RequestContext, GenerateCall], Awaitable[str]]
"""The text of an answer, by all stages of the pipeline. Raises HeadraceError."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How much the second answer is preferred, 0 to 1, None where no verdict came; and what that cost."""

    second: float | None
    nano_usd: int


class Referee:
    """Asks a judge about two answers, twice, with their places swapped.

    Args:
        ask: asks the model.
        record: hears of each question when it has ended.
    """

    def __init__(self, ask: Ask, record: Callable[[RequestContext, int, str], None]) -> None:
        self._ask, self._record = ask, record

    async def __call__(
        self, copy: RequestContext, judge: JudgeLimits, question: str, given: str, answer: str
    ) -> Judged:
        """Compare the `answer` of a copy with the one that was `given`."""
        if comparing.same(given, answer):
            return Judged(0.5, 0)
        places: list[comparing.Place] = []
        nano_usd = 0
        for text in comparing.questions(judge.criteria, question, given, answer):
            ctx = _context(copy)
            status, error = 200, ""
            try:
                places.append(comparing.read(await self._ask(ctx, _call(judge.model, text))))
            except NoVerdict:
                error = "no_verdict"
            except HeadraceError as failed:
                status, error = row(failed).http, error_code(failed)
            except BaseException as failed:
                status, error = 499, error_code(failed)
                raise
            finally:
                nano_usd += ctx.cost_nano_usd
                self._record(ctx, status, error)
            if error:
                return Judged(None, nano_usd)
        return Judged(comparing.settle(*places).second, nano_usd)


def _call(model: str, text: str) -> GenerateCall:
    return GenerateCall(
        model=model,
        messages=[Message(role="user", parts=[ContentPart(text=text)])],
        sampling=Sampling(
            temperature=0,
            seed=comparing.SEED,
            max_tokens=comparing.MOST_TOKENS,
            response_format=ResponseFormat(type="json_schema", name="verdict", schema_json=_FORM),
        ),
    )


def _context(copy: RequestContext) -> RequestContext:
    """A request of its own under the copy: no key, no budget, no arm, and its own deadline."""
    ctx = open_request(
        Arrival(
            route="shadow judge",
            traceparent=copy.traceparent(copy.span_id),
            transport="shadow",
            traced=copy.sampled,
        ),
        copy.table,
    )
    ctx.identity, ctx.shadow, ctx.plan = copy.identity, True, copy.plan
    ctx.attributes[JUDGES] = copy.request_id
    return ctx
