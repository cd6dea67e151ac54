"""What platform engineers see: keys, rollouts, deployments, the config in force."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class CreatedKey(Struct):
    """A new key. `key` is shown this once."""

    id: str
    key: str


class KeyLimits(Struct, omit_defaults=True):
    """Limits of one key, besides its team's; None: no limit of its own.

    Rates hold over all gateways; `concurrent_requests` is at one time and per gateway.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


class Key(Struct):
    """A key without its secret. Times are RFC 3339; empty or None: never."""

    id: str
    tenant: str = ""
    name: str = ""
    scopes: list[str] = field(default_factory=list)
    created_at: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
    rotated_at: str | None = None
    previous_until: str | None = None
    """Until then the secret before the last rotation is good too."""
    limits: KeyLimits | None = None


class AuditEntry(Struct):
    """Who changed what, before and after; None: there was, or is, nothing. `actor` is the id of a key."""

    id: str
    at: str
    actor: str
    action: str
    subject: str
    tenant: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class Verdict(Struct):
    """What is known of one metric of a rollout: `state` is `within`, `beyond`, `undecided` or `missing`.

    `estimate` says how much worse the candidate is, `low` and `high` are an interval that holds at all times at once,
    `margin` is how much worse it may be; None: not known. `evidence` tells how far the case for a rollback is, 0 to 1.
    `paired`: judged by answers to copies of requests.
    """

    metric: str
    state: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    alpha: float = 0.0
    evidence: float = 0.0
    n_baseline: int = 0
    n_candidate: int = 0
    reason: str = ""
    paired: bool = False


class RolloutEvaluation(Struct):
    """A suite that candidate and baseline were both asked: `running`, `passed` or `failed`.

    `why` says what is in its way, or what does not hold; `checks` what its thresholds demand and what was found.
    """

    suite: str
    step: int = 0
    state: str = ""
    done: int = 0
    total: int = 0
    why: str = ""
    checks: list[Verdict] = field(default_factory=list)


class Rollout(Struct):
    """The swap of a model to its candidate. `weight` and `shadow` are in 1/10000.

    `holds` says what its step waits for; `served_s` for how many seconds the step's weight was granted.
    """

    id: str
    model: str = ""
    state: str = ""
    step: int = 0
    steps: int = 0
    weight: int = 0
    shadow: int = 0
    reason: str = ""
    source: str = ""
    holds: str = ""
    served_s: float = 0.0
    verdicts: list[Verdict] = field(default_factory=list)
    evaluation: RolloutEvaluation | None = None
    spec: dict[str, Any] | None = None
    created_at: str | None = None
    step_started_at: str | None = None


class RolloutTransition(Struct):
    """A line of a rollout's audit trail. `actor` is `controller`, `config`, or the key or user that asked."""

    at: str
    state: str
    step: int = 0
    weight: int = 0
    reason: str = ""
    actor: str = ""


class RolloutDecision(Struct):
    """What the controller decided, and by which numbers: `advance`, `promote`, `hold` or `roll_back`."""

    at: str
    action: str
    step: int = 0
    reason: str = ""
    verdicts: list[Verdict] = field(default_factory=list)


class RolloutPoint(Struct):
    """What was known of a metric at one moment; fields as in `Verdict`."""

    at: str
    metric: str
    state: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None


class RolloutExplanation(Struct):
    """How a rollout came where it is; oldest first."""

    rollout: Rollout
    transitions: list[RolloutTransition] = field(default_factory=list)
    decisions: list[RolloutDecision] = field(default_factory=list)
    points: list[RolloutPoint] = field(default_factory=list)


class ConfigVersion(Struct):
    """Hash of the config that new requests are served under, of a newer one on its way, and why one was refused."""

    active: str
    pending: str = ""
    error: str = ""


class DeploymentLoad(Struct):
    """How busy a deployment is. `kv_cache_used` is a share, None where the engine does not tell."""

    waiting: int = 0
    running: int = 0
    slots: int = 0
    tokens_per_second: float = 0.0
    first_token_ms: float = 0.0
    output_token_ms: float = 0.0
    wait_ms: float = 0.0
    kv_cache_used: float | None = None


class Deployment(Struct):
    """A model on an engine, as it is now.

    `state` is `loading`, `warming`, `ready`, `draining`, `unloaded` or `failed`, and `detail` says why. `load_error`
    says why the last load failed while an older version goes on serving.
    """

    name: str
    engine: str = ""
    model: str = ""
    state: str = ""
    detail: str = ""
    tasks: list[str] = field(default_factory=list)
    context_tokens: int = 0
    adapters: list[str] = field(default_factory=list)
    accepts: list[str] = field(default_factory=list)
    version: int = 0
    load_error: str | None = None
    load: DeploymentLoad | None = None
