"""Whether to draft for a request: where it pays, by measured acceptance and batch occupancy.

No engine changes the length of drafts for one request; what can be chosen is the instance that drafts, or the one that
does not. The model is that of Leviathan, Kalman and Matias ("Fast Inference from Transformers via Speculative
Decoding", 2023, theorem 3.8), with two costs that it leaves out because it has one request on an accelerator with room
to spare: what a drafted token costs to check, and that this cost grows with the batch. Costs are in steps of the model
for one request:

    verify  cost of one more token in a step      draft  cost of proposing one token      batch  requests in the step

A step for `batch` requests costs `1 + (batch - 1) * verify`, so a request's share of it is that through `batch`. A
drafted token costs `verify + draft / batch`, and saves a share when it is accepted. So drafts pay when the share of
their tokens that is accepted is at least

    break_even = (verify * batch + draft) / (1 + (batch - 1) * verify)

which for one request is `verify + draft` and for a large batch goes to 1: there nothing pays.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from headrace_kit.config.catalogue import CatalogueEntry
from headrace_kit.config.deployments import BaseDeployment, LanguageDeployment, LlamaCppDeployment

PRIOR_SHARE = 0.7
"""Acceptance to start from: the first requests are tried with drafts unless the engine is full."""

EVIDENCE_TOKENS = 64
"""Drafted tokens of one request at which it weighs as much as all that was seen before it."""

MEMORY_TOKENS = 2048
"""Drafted tokens over which the share that was accepted is shown."""

PROBE_COST = 0.01
"""Part of the work that probing may cost while speculation is off: so often is one request tried with drafts again."""

LEAST_GAP, MOST_GAP = 8, 512
"""Requests between two probes."""

SHARED_GAP = 128
"""Least of them while several requests share steps: a probe leaves theirs for steps of its own."""

CALMING = 0.9
"""What remains of a large batch with each request that finds a smaller one. Requests of one burst must go to the same
instance: two that each have a part of the batch need more steps than one that has all of it."""

LONG_PROMPT_TOKENS = 256
"""From here on a prompt is taken for one that gives text to quote from: its acceptance is counted apart."""

_MOST_KINDS = 1024


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of one more token in a step and of one drafted token, in steps of the model for one request."""

    verify: float
    draft: float = 0.0

    def break_even(self, batch: float) -> float:
        """Least share of drafted tokens to be accepted for drafts to pay, with `batch` requests in the step."""
        return (self.verify * batch + self.draft) / (1 + (batch - 1) * self.verify)


@dataclass(slots=True)
class _Kind:
    """What was seen of one tenant's prompts of one kind."""

    share: float
    since_probe: int = 0
    gap: int = SHARED_GAP // 2

    def learn(self, drafted: int, accepted: int) -> None:
        self.share += drafted / (drafted + EVIDENCE_TOKENS) * (accepted / drafted - self.share)


Key = tuple[str, bool]
"""Tenant, and whether the prompt is long."""


class Speculation:
    """The controller of one deployment.

    Args:
        most: tokens that the engine drafts a step.
        costs: of the engine and of the way it drafts.
    """

    def __init__(self, most: int, costs: Costs) -> None:
        self._most = most
        self._costs = costs
        self._all = _Kind(PRIOR_SHARE)
        self._kinds: OrderedDict[Key, _Kind] = OrderedDict()
        self._drafted = self._accepted = 0.0
        self._heard = False
        self._batch = 1.0
        self.current = most
        """The last decision."""
        self.tokens_per_step = 1.0
        """Tokens that a step of the model brought a request, over the last ones."""

    @property
    def acceptance(self) -> float:
        """Share of drafted tokens that was accepted, over the last few thousand; 0 before the first."""
        return self._accepted / self._drafted if self._drafted else 0.0

    def decide(self, tenant: str, prompt_tokens: int, batch: int) -> int:
        """Tokens to draft a step for a request that starts now, itself one of `batch`: `most`, or 0 for none.

        Larger batches of the last requests count too, see `CALMING`.
        """
        kind = self._kind(tenant, prompt_tokens)
        self._batch = max(batch, 1.0, self._batch * CALMING)
        break_even = self._costs.break_even(self._batch)
        drafts = kind.share > break_even or (break_even < 1 and self._probe(kind))
        self.current = self._most if drafts else 0
        return self.current

    def learn(self, tenant: str, prompt_tokens: int, length: int, drafted: int, accepted: int, output: int) -> None:
        """A request of `output` tokens ended. With a `length` above 0 it may have had drafts: `drafted` tokens were
        proposed, `accepted` of them taken."""
        if output > accepted:
            self.tokens_per_step += 0.1 * (output / (output - accepted) - self.tokens_per_step)
        kind = self._kind(tenant, prompt_tokens)
        if length and output:
            lost = (drafted * self._costs.break_even(1) - accepted) / output
            kind.gap = round(min(max(lost / PROBE_COST, LEAST_GAP), MOST_GAP))
        if drafted:
            keep = max(0.0, 1 - drafted / MEMORY_TOKENS)
            self._drafted = self._drafted * keep + drafted
            self._accepted = self._accepted * keep + accepted
            self._all.learn(drafted, accepted)
            kind.learn(drafted, accepted)

    def hear(self, share: float) -> None:
        """The engine says what share of drafted tokens was accepted since it was asked last, over all requests.

        For engines that do not tell with each answer: tenants and prompts cannot be told apart there.
        """
        self._heard = True
        self._all.learn(EVIDENCE_TOKENS, round(share * EVIDENCE_TOKENS))
        self._drafted, self._accepted = 1.0, share

    def _probe(self, kind: _Kind) -> bool:
        kind.since_probe += 1
        if kind.since_probe < (kind.gap if self._batch < 2 else max(kind.gap, SHARED_GAP)):
            return False
        kind.since_probe = 0
        return True

    def _kind(self, tenant: str, prompt_tokens: int) -> _Kind:
        if self._heard:
            return self._all
        key = (tenant, prompt_tokens >= LONG_PROMPT_TOKENS)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(self._all.share)
            if len(self._kinds) > _MOST_KINDS:
                self._kinds.popitem(last=False)
        else:
            self._kinds.move_to_end(key)
        return kind


CPU_VERIFY = 0.5
"""llama.cpp on one CPU thread is bound by arithmetic: prompts read in pieces of 2 to 17 tokens cost 0.45 to 0.8 of a
one-token step for each token beyond the first (SmolLM2-135M Q4_1, Qwen2.5-0.5B Q4_K_M)."""

GPU_VERIFY = 0.03
"""A GPU's decode is bound by memory. Fits the published speed-ups of EAGLE-3 on Qwen3-8B at batch 1, 2, 4 and 8
(2.7, 2.4, 2.2 and 1.6)."""

HEAD_DRAFT = 0.05
"""An EAGLE-3 head or an MTP layer is about one layer of the model."""


def controller(config: BaseDeployment, catalogue: Mapping[str, CatalogueEntry]) -> Speculation | None:
    """The controller for a deployment; None where there is nothing to control."""
    if not isinstance(config, LanguageDeployment):
        return None
    speculation = config.speculation
    has_plain = (
        isinstance(config, LlamaCppDeployment)
        or getattr(config, "plain_instance", False)
        or getattr(config, "plain_address", None) is not None
    )
    if speculation.method == "none" or not speculation.adaptive or not has_plain:
        return None
    draft = 0.0
    if speculation.method == "draft_model" and speculation.draft is not None:
        draft = min(1.0, _bytes(catalogue[speculation.draft]) / _bytes(catalogue[config.model]))
    elif speculation.method in ("eagle3", "mtp"):
        draft = HEAD_DRAFT
    verify = CPU_VERIFY if isinstance(config, LlamaCppDeployment) else GPU_VERIFY
    return Speculation(speculation.max_draft_tokens, Costs(verify, draft))


def _bytes(entry: CatalogueEntry) -> int:
    return max(1, sum(file.size for file in entry.files))
