"""How many tokens to draft a step: as many as pay, by measured acceptance and batch occupancy.

The model is that of Leviathan, Kalman and Matias ("Fast Inference from Transformers via Speculative Decoding", 2023,
theorem 3.8), with two costs that it leaves out because it has one request on an accelerator with room to spare: what a
drafted token costs to check, and that this cost grows with the batch. Costs are in steps of the model for one request:

    verify  cost of one more token in a step      draft  cost of proposing one token      batch  requests in the step

A step for `batch` requests costs `1 + (batch - 1) * verify`, so a request's share of it is that through `batch`. A
drafted token costs `verify + draft / batch`, and saves a share when it is accepted. So it pays when it is accepted with
a probability of at least

    break_even = (verify * batch + draft) / (1 + (batch - 1) * verify)

which for one request is `verify + draft` and for a large batch goes to 1: there nothing pays. A draft's i-th token is
accepted with the probability `alpha ** i`, so a draft should end at the last i for which that is above `break_even`.
`alpha` is found from the share of drafted tokens that was accepted: of drafts of `n` tokens that is
`alpha * (1 - alpha ** n) / ((1 - alpha) * n)`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from headrace_kit.config.catalogue import CatalogueEntry
from headrace_kit.config.deployments import BaseDeployment, LanguageDeployment, LlamaCppDeployment

PRIOR_ALPHA = 0.7
"""Acceptance to start from: what the first requests are tried with."""

EVIDENCE_TOKENS = 64
"""Drafted tokens of one request at which it weighs as much as all that was seen before it."""

MEMORY_TOKENS = 2048
"""Drafted tokens over which the share that was accepted is shown."""

PROBE_TOKENS = 2
"""Length of a probe's drafts."""

FIRST_PROBE, LAST_PROBE = 32, 256
"""Requests between two probes of prompts for which speculation is off; the gap doubles while probes fail."""

LONG_PROMPT_TOKENS = 256
"""From here on a prompt is taken for one that gives text to quote from: its acceptance is counted apart."""

_MOST_KINDS = 1024


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of one more token in a step and of one drafted token, in steps of the model for one request."""

    verify: float
    draft: float = 0.0

    def break_even(self, batch: int) -> float:
        """Least probability of acceptance at which a drafted token pays, with `batch` requests in the step."""
        return (self.verify * batch + self.draft) / (1 + (batch - 1) * self.verify)


def draft_length(alpha: float, break_even: float, most: int) -> int:
    """Tokens to draft, from 0 to `most`, when each is accepted with `alpha` if the one before it was."""
    if break_even >= 1 or alpha <= break_even:
        return 0
    if alpha >= 1:
        return most
    return min(most, int(math.log(break_even) / math.log(alpha)))


def share_of(alpha: float, length: float) -> float:
    """Share that is accepted of drafts of `length` tokens."""
    return alpha * (1 - alpha**length) / ((1 - alpha) * length) if alpha < 1 else 1.0


def alpha_of(accepted_share: float, length: float) -> float:
    """Acceptance of one token, from the share that was accepted of drafts of `length` tokens."""
    if accepted_share >= 1 or length <= 1:
        return min(accepted_share, 1.0)
    low, high = accepted_share, 1.0
    for _ in range(20):
        alpha = (low + high) / 2
        low, high = (alpha, high) if share_of(alpha, length) < accepted_share else (low, alpha)
    return (low + high) / 2


@dataclass(slots=True)
class _Kind:
    """What was seen of one tenant's prompts of one kind."""

    alpha: float
    since_probe: int = 0
    gap: int = FIRST_PROBE

    def learn(self, drafted: int, accepted: int, length: int) -> None:
        seen = alpha_of(accepted / drafted, length)
        if seen > self.alpha:
            self.gap = FIRST_PROBE
        self.alpha += drafted / (drafted + EVIDENCE_TOKENS) * (seen - self.alpha)


Key = tuple[str, bool]
"""Tenant, and whether the prompt is long."""


class Speculation:
    """The controller of one deployment.

    Args:
        most: tokens to draft when it pays best.
        costs: of the engine and of the way it drafts.
        graded: whether the engine takes any length; else it is all or nothing.
    """

    def __init__(self, most: int, costs: Costs, graded: bool = True) -> None:
        self._most = most
        self._costs = costs
        self._graded = graded
        self._all = _Kind(PRIOR_ALPHA)
        self._kinds: OrderedDict[Key, _Kind] = OrderedDict()
        self._drafted = self._accepted = 0.0
        self._heard = False
        self.current = most
        """The last decision."""
        self.tokens_per_step = 1.0
        """Tokens that a step of the model brought a request, over the last ones."""

    @property
    def acceptance(self) -> float:
        """Share of drafted tokens that was accepted, over the last few thousand; 0 before the first."""
        return self._accepted / self._drafted if self._drafted else 0.0

    def decide(self, tenant: str, prompt_tokens: int, batch: int) -> int:
        """Tokens to draft a step for a request that starts now, itself one of `batch`; 0: none."""
        kind = self._kind(tenant, prompt_tokens)
        break_even = self._costs.break_even(max(1, batch))
        if self._graded:
            length = draft_length(kind.alpha, break_even, self._most)
        else:
            length = self._most if share_of(kind.alpha, self._most) > break_even else 0
        if not length and break_even < 1:
            length = self._probe(kind)
        self.current = length
        return length

    def learn(self, tenant: str, prompt_tokens: int, length: int, drafted: int, accepted: int, output: int) -> None:
        """A request with drafts of `length` tokens ended: `drafted` tokens were proposed, `accepted` of them taken."""
        if output > accepted:
            self.tokens_per_step += 0.1 * (output / (output - accepted) - self.tokens_per_step)
        if drafted:
            keep = max(0.0, 1 - drafted / MEMORY_TOKENS)
            self._drafted = self._drafted * keep + drafted
            self._accepted = self._accepted * keep + accepted
            self._all.learn(drafted, accepted, length)
            self._kind(tenant, prompt_tokens).learn(drafted, accepted, length)

    def hear(self, share: float) -> None:
        """The engine says what share of drafted tokens was accepted since it was asked last, over all requests.

        For engines that do not tell with each answer: tenants and prompts cannot be told apart there.
        """
        self._heard = True
        self._all.learn(EVIDENCE_TOKENS, round(share * EVIDENCE_TOKENS), self._most)
        self._drafted, self._accepted = 1.0, share

    def _probe(self, kind: _Kind) -> int:
        kind.since_probe += 1
        if kind.since_probe < kind.gap:
            return 0
        kind.since_probe, kind.gap = 0, min(LAST_PROBE, kind.gap * 2)
        return min(PROBE_TOKENS, self._most) if self._graded else self._most

    def _kind(self, tenant: str, prompt_tokens: int) -> _Kind:
        if self._heard:
            return self._all
        key = (tenant, prompt_tokens >= LONG_PROMPT_TOKENS)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(self._all.alpha)
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
    graded = isinstance(config, LlamaCppDeployment)
    routed = getattr(config, "plain_instance", False) or getattr(config, "plain_address", None) is not None
    if speculation.method == "none" or not speculation.adaptive or not (graded or routed):
        return None
    draft = 0.0
    if speculation.method == "draft_model" and speculation.draft is not None:
        draft = min(1.0, _bytes(catalogue[speculation.draft]) / _bytes(catalogue[config.model]))
    elif speculation.method in ("eagle3", "mtp"):
        draft = HEAD_DRAFT
    verify = CPU_VERIFY if isinstance(config, LlamaCppDeployment) else GPU_VERIFY
    return Speculation(speculation.max_draft_tokens, Costs(verify, draft), graded)


def _bytes(entry: CatalogueEntry) -> int:
    return max(1, sum(file.size for file in entry.files))
