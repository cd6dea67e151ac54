"""The stages of a request: arm, guard input, recall, retrieve, guard retrieved, route, generate, guard output, settle.

(Admission is the door's, before a body is read.) A stage that the model's config does not ask for does nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from headrace_gateway.admission.identity import CHOOSE_ARM
from headrace_gateway.arms.leases import Leases
from headrace_gateway.arms.outcomes import answered
from headrace_gateway.arms.ratings import SEAL, seal
from headrace_gateway.arms.shadow import chosen, copy_of
from headrace_gateway.arms.split import CANDIDATE, Arm
from headrace_gateway.budgets.reserve import measure, reserve
from headrace_gateway.cache.stage import AnswerCache
from headrace_gateway.calls import GenerateCall
from headrace_gateway.cascade.judges import Judges
from headrace_gateway.cascade.run import run_cascade
from headrace_gateway.context import RequestContext, error_code
from headrace_gateway.conversations import Conversations
from headrace_gateway.grounding.citations import cited
from headrace_gateway.grounding.prompt import fitting, ground, query_of
from headrace_gateway.grounding.retrieve import retrieve
from headrace_gateway.grounding.rewriting import Rewriting
from headrace_gateway.guarding.guards import Guards
from headrace_gateway.guarding.input import Guard, guard_call, guard_passages
from headrace_gateway.guarding.output import guard_output, guards_output, refuse_logprobs
from headrace_gateway.guarding.sensitive import sensitive
from headrace_gateway.guarding.unmask import unmasked
from headrace_gateway.observing.content import Captured
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.outcome import usd
from headrace_gateway.parts import check_parts
from headrace_gateway.ports import Retriever
from headrace_gateway.resilience.attempts import Attempts
from headrace_gateway.routing.eligible import refuse_forbidden, refuse_unservable
from headrace_gateway.routing.plan import TASKS, ModelPlan, StagePlan, single
from headrace_kit.errors import BadInput, Forbidden, NotReady, Upstream
from headrace_kit.telemetry import genai
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest
from headrace_protos.retrieval.v1.messages_pb2 import Passage

Chunks = AsyncGenerator[GenerateChunk, None]

ARM_UNKNOWN = "rollout_not_granted"
"""Code of the error when an arm was asked for by name that this replica does not have."""


class Answer:
    """An answer of which the first piece is there. Whoever has one reads it to its end or closes it."""

    def __init__(self, ctx: RequestContext, call: GenerateCall, first: GenerateChunk, rest: Chunks) -> None:
        self.ctx, self.call = ctx, call
        self._first: GenerateChunk | None = first
        self._rest = rest

    def chunks(self) -> Answer:
        """All pieces in order, once. The very last one has a finish reason and `usage`; by then the outcome is whole.

        Raises:
            HeadraceError: the answer broke off.
        """
        return self

    def __aiter__(self) -> Answer:
        return self

    def __anext__(self) -> Awaitable[GenerateChunk]:
        return self._rest.__anext__() if self._first is None else self._begin()

    async def _begin(self) -> GenerateChunk:
        first, self._first = self._first, None
        assert first is not None
        return first

    async def whole(self) -> tuple[list[GenerateChunk], Usage]:
        """One chunk a choice, by index, and the usage. Of a choice that a policy blocked no text is left."""
        choices: dict[int, list[GenerateChunk]] = {}
        usage = Usage()
        async with aclosing(self):
            async for chunk in self:
                choices.setdefault(chunk.index, []).append(chunk)
                if chunk.HasField("usage"):
                    usage = chunk.usage
        return [_joined(choices[index]) for index in sorted(choices)], usage

    async def aclose(self) -> None:
        """Stop everything that is still at work for this answer."""
        await self._rest.aclose()


def _joined(chunks: Sequence[GenerateChunk]) -> GenerateChunk:
    finish = chunks[-1].finish_reason
    if len(chunks) == 1 or finish == "content_filter":
        if len(chunks) == 1:
            return chunks[0]
        # The last one's text is the policy's own, where it gives some.
        return GenerateChunk(index=chunks[0].index, text=chunks[-1].text, finish_reason=finish)
    whole = GenerateChunk(
        index=chunks[0].index,
        text="".join([chunk.text for chunk in chunks]),
        reasoning="".join([chunk.reasoning for chunk in chunks]),
        finish_reason=finish,
    )
    calls: dict[int, int] = {}
    for chunk in chunks:
        whole.logprobs.extend(chunk.logprobs)
        for piece in chunk.tool_calls:
            if piece.index not in calls:
                calls[piece.index] = len(whole.tool_calls)
                whole.tool_calls.add().CopyFrom(piece)
                continue
            call = whole.tool_calls[calls[piece.index]]
            call.id, call.name = call.id or piece.id, call.name or piece.name
            call.arguments += piece.arguments
    return whole


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Serves requests for text."""

    attempts: Attempts
    retriever: Retriever
    leases: Leases
    metrics: Metrics
    cache: AnswerCache
    judges: Judges
    guards: Guards
    rewriting: Rewriting
    conversations: Conversations

    async def generate(self, ctx: RequestContext, call: GenerateCall) -> Answer:
        """Run every stage up to the first piece of the answer.

        Raises:
            HeadraceError: whichever stage failed; nothing has been sent then.
        """
        ctx.operation, ctx.stream = call.operation, call.stream
        ctx.outcome.request_id, ctx.outcome.trace_id = ctx.request_id, ctx.trace_id
        plan = self._arm(ctx, call)
        check_parts(plan, call)
        if ctx.sampled and (kept := ctx.table.content(ctx.identity.tenant)) != "off":
            ctx.content = Captured(call)
            if kept == "full":
                ctx.content.before_guarding()
            if person := call.options.user or ctx.identity.user or call.end_user:
                ctx.attributes[genai.USER] = person
        guard = self._guard(ctx, plan, call)
        await self._guard_input(ctx, guard, call)
        ctx.sensitive = sensitive(guard)
        refuse_forbidden(ctx, plan)
        turn = await self.conversations.recall(ctx, plan, guard, call)
        coming = self.conversations.keeping(ctx, turn, self._chunks(ctx, plan, call, guard))
        settled = self._settle(ctx, unmasked(guard, coming))
        try:
            return Answer(ctx, call, await anext(settled), settled)
        except BaseException:
            await settled.aclose()
            raise

    async def _chunks(self, ctx: RequestContext, plan: ModelPlan, call: GenerateCall, guard: Guard) -> Chunks:
        if plan.cache is None:
            return await self._fresh(ctx, plan, call, guard)
        measure(ctx, call)
        return self.cache.serve(ctx, plan, call, lambda: self._fresh(ctx, plan, call, guard))

    async def _fresh(self, ctx: RequestContext, plan: ModelPlan, call: GenerateCall, guard: Guard) -> Chunks:
        """An answer that is made now: retrieve, guard retrieved, route, generate, guard output, cite."""
        passages: list[Passage] = []
        question = ""
        if plan.collections or call.options.collections:
            passages = await retrieve(self.retriever, self.rewriting, ctx, plan, call)
            passages = await self._guard_retrieved(ctx, guard, passages)
            passages = fitting(passages, plan.context_tokens)
            if not passages and plan.grounding.not_found:
                return self.cache.unanswered(ctx, plan.grounding.not_found)
            question = query_of(call)
            if ctx.content is not None:
                ctx.content.before_grounding(passages)
            ground(call, passages)
        request = GenerateRequest(messages=call.messages, prompt=call.prompt, sampling=call.sampling)
        await reserve(ctx, plan, request)
        ctx.sensitive = sensitive(guard)
        refuse_unservable(ctx, plan, request)
        chunks = run_cascade(self.attempts, self.judges, ctx, plan, request, whole=not call.stream)
        if guards_output(guard):
            chunks = self._guarded(ctx, guard, chunks)
        return cited(chunks, passages, question, plan.grounding, ctx.outcome) if passages else chunks

    def _arm(self, ctx: RequestContext, call: GenerateCall) -> ModelPlan:
        """Find the model, and which arm of its rollout this request is on."""
        if ctx.shadow:
            plan = shadowed(ctx, self.leases, call.model) if ctx.rollout_id else refereeing(ctx, call.model)
        else:
            plan = self._chosen(ctx, call)
            if not call.options.arm:  # those who name an arm are no users
                self.guards.put(ctx, self.leases.trial(sticky_key(ctx, call)))
        if ctx.rollout_id or ctx.canary is not None or ctx.trial is not None:
            ctx.answered = answered(call.messages, call.prompt, call.sampling.response_format)
        attributes = ctx.attributes
        attributes[genai.REQUEST_STREAM] = call.stream
        if call.options.conversation_id:
            attributes[genai.CONVERSATION_ID] = call.options.conversation_id
        sampling = call.sampling
        for name, field in _SAMPLING_ATTRIBUTES:
            if sampling.HasField(field):
                attributes[name] = getattr(sampling, field)
        return plan

    def _chosen(self, ctx: RequestContext, call: GenerateCall) -> ModelPlan:
        arm = select(ctx, self.leases, call.model, "generate", sticky_key(ctx, call))
        plan = arm.plan
        if call.options.arm:
            plan = named(ctx, self.leases, call)
        elif call.options.route:
            if "admin" not in ctx.identity.scopes:
                raise Forbidden("naming a deployment needs a key with the scope 'admin'", param="headrace.route")
            target = ctx.table.target(call.options.route)
            ctx.plan = plan = replace(
                plan, stages=(StagePlan(single(target), None),), fallbacks=(), low_confidence=None, learned=None
            )
            ctx.rollout_id = ctx.arm = ""  # it was sent there by name: it says nothing of an arm
        elif arm.shadow and chosen(arm.rollout_id, ctx.request_id, arm.shadow):
            ctx.copy = copy_of(call, arm.limits)
        return plan

    def _guard(self, ctx: RequestContext, plan: ModelPlan, call: GenerateCall) -> Guard:
        guard = self.guards.of(ctx, plan, call.options.guardrails)
        refuse_logprobs(guard, call.sampling)
        return guard

    async def _guard_input(self, ctx: RequestContext, guard: Guard, call: GenerateCall) -> None:
        if guard.policies:
            with ctx.stage("guard input") as hop:
                await guard_call(guard, call)
                hop.attributes["headrace.guard.findings"] = len(guard.found)
        ctx.metadata, ctx.conversation = call.metadata, call.options.conversation_id
        for key, value in call.metadata.items():
            ctx.attributes[f"headrace.metadata.{key}"] = value

    async def _guard_retrieved(self, ctx: RequestContext, guard: Guard, passages: list[Passage]) -> list[Passage]:
        looked_at = guard.extra_by_collection or any(policy.looks_at("retrieved") for policy in guard.policies)
        if not passages or not looked_at:
            return passages
        with ctx.stage("guard retrieved") as hop:
            kept = await guard_passages(guard, passages)
            hop.attributes["headrace.guard.left_out"] = len(passages) - len(kept)
            return kept

    async def _guarded(self, ctx: RequestContext, guard: Guard, chunks: Chunks) -> Chunks:
        hop = None
        before = len(guard.found)
        try:
            async with aclosing(guard_output(guard, chunks, ctx.stop)) as guarded:
                async for chunk in guarded:
                    hop = hop or ctx.begin("guard output")
                    yield chunk
        except BaseException as error:
            if hop is not None:
                ctx.end(hop, error_code(error))
                hop = None
            raise
        finally:
            if hop is not None:
                hop.attributes["headrace.guard.findings"] = len(guard.found) - before
                ctx.end(hop)

    async def _settle(self, ctx: RequestContext, coming: Awaitable[Chunks]) -> Chunks:
        """Hold the last finish back until usage and cost are known, and put them on it."""
        held: GenerateChunk | None = None
        try:
            async with aclosing(await coming) as chunks:
                async for chunk in chunks:
                    if not (chunk.text or chunk.finish_reason or chunk.tool_calls or chunk.reasoning or chunk.logprobs):
                        continue
                    if not ctx.first_token_us:
                        ctx.first_token_us = ctx.elapsed_us()
                    if ctx.answered is not None:
                        ctx.answered.saw(chunk)
                    if ctx.content is not None:
                        ctx.content.saw(chunk)
                    if held is not None:
                        held.ClearField("usage")
                        yield held
                        held = None
                    if chunk.finish_reason:
                        held = chunk
                    else:
                        yield chunk
            if held is None:
                raise Upstream("the engine ended without finishing its answer", code="engine_failed")
            ctx.outcome.cost_usd = usd(ctx.cost_nano_usd)
            held.usage.CopyFrom(ctx.usage)
            ctx.attributes[genai.RESPONSE_FINISH_REASONS] = (held.finish_reason,)
            yield held
        finally:
            for found in ctx.outcome.guardrails:
                self.metrics.finding(found.direction, found.check, found.action, found.count)


_SAMPLING_ATTRIBUTES = (
    (genai.REQUEST_TEMPERATURE, "temperature"),
    (genai.REQUEST_TOP_P, "top_p"),
    (genai.REQUEST_MAX_TOKENS, "max_tokens"),
    (genai.REQUEST_SEED, "seed"),
)


def sticky_key(ctx: RequestContext, call: GenerateCall) -> str:
    """What an arm sticks to: the conversation, else the person, else this request alone; never the API key."""
    person = call.options.user or ctx.identity.user or call.end_user
    if call.options.conversation_id:
        return f"{ctx.identity.tenant}\0c\0{call.options.conversation_id}"
    return f"{ctx.identity.tenant}\0u\0{person}" if person else ctx.request_id


def shadowed(ctx: RequestContext, leases: Leases, model: str) -> ModelPlan:
    """The plan that serves a copy: the candidate's, without what reaches beyond the answer (a cache, people).

    Raises:
        NotReady: the rollout has ended meanwhile.
    """
    plan = leases.candidate(ctx.table, model, ctx.rollout_id)
    if plan is None:
        ctx.rollout_id = ""
        raise NotReady("the rollout has ended")
    low = plan.low_confidence
    ctx.plan = plan = replace(
        plan, cache=None, low_confidence=low.model_copy(update={"webhook": None}) if low is not None else None
    )
    ctx.arm = ctx.outcome.arm = CANDIDATE
    ctx.outcome.model = model
    ctx.limit(plan.timeout_s)
    return plan


def refereeing(ctx: RequestContext, model: str) -> ModelPlan:
    """The plan of a model that compares answers: whoever may name it, and without what reaches beyond the answer.

    Where it has no guardrails of its own, those of the model whose answers it reads hold: it sees no more than that.

    Raises:
        NotReady: the config has no such model any more.
    """
    plan = ctx.table.models.get(model)
    if plan is None:
        raise NotReady(f"the config has no model {model!r} that judges")
    low, policy = plan.low_confidence, plan.policy or (ctx.plan.policy if ctx.plan is not None else None)
    ctx.plan = plan = replace(
        plan,
        cache=None,
        policy=policy,
        low_confidence=low.model_copy(update={"webhook": None}) if low is not None else None,
    )
    ctx.outcome.model = model
    ctx.limit(plan.timeout_s)
    return plan


def named(ctx: RequestContext, leases: Leases, call: GenerateCall) -> ModelPlan:
    """The plan of the arm that a service of ours asked for by name. Such a request says nothing of how users fare, so
    it is no outcome of the rollout.

    Raises:
        Forbidden: the caller is a key, or a service that may not.
        NotReady: this replica was granted no such rollout.
    """
    if CHOOSE_ARM not in ctx.identity.scopes:
        raise Forbidden("no key may choose an arm of a rollout", param="headrace.arm")
    rollout, arm = call.options.rollout, call.options.arm
    candidate = leases.candidate(ctx.table, call.model, rollout)
    if candidate is None:
        raise NotReady(
            f"rollout {rollout[:64]!r} of the model {call.model!r} is not granted here, or its candidate does not fit",
            code=ARM_UNKNOWN,
            param="headrace.rollout",
        )
    ctx.plan = plan = candidate if arm == CANDIDATE else ctx.table.model(call.model, ctx.identity.tenant)
    ctx.attributes["headrace.rollout.evaluation"] = rollout
    ctx.rollout_id, ctx.arm, ctx.outcome.arm = "", "", arm
    ctx.limit(plan.timeout_s)
    return plan


def select(ctx: RequestContext, leases: Leases, model: str, task: str, key: str) -> Arm:
    """The arm of `key`, whose plan serves a request for `model`; the request takes its time limit.

    Raises:
        NotFound: no such model for this tenant.
        BadInput: the model does something else.
    """
    baseline = ctx.table.model(model, ctx.identity.tenant)
    arm = leases.arm(ctx.table, baseline, key)
    ctx.plan, ctx.rollout_id, ctx.arm, ctx.unit = arm.plan, arm.rollout_id, arm.name, arm.unit
    ctx.arm_weight = arm.weight
    if arm.compared:
        ctx.attributes[SEAL] = seal(arm, ctx.trace_id)
    ctx.outcome.model, ctx.outcome.arm = model, arm.name or "baseline"
    if arm.plan.task != task:
        raise BadInput(
            f"the model {model!r} is for {TASKS[arm.plan.task]}, not {TASKS[task]}",
            code="model_not_supported",
            param="model",
        )
    ctx.limit(arm.plan.timeout_s)
    return arm
