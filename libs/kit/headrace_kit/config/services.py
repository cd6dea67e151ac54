"""`services:` settings that concern one process: addresses, pools, limits. And the stores they share."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from headrace_kit.config.base import Duration, Name, Percent, SecretRef, Section
from headrace_kit.config.traces import Drift, Forward, Retried, Thin

TraceContent = Literal["off", "redacted", "full"]
KEPT = (
    "`off`: nothing. `redacted`: texts with tokens in the place of personal data and secrets. `full`: that, and the "
    "texts as they were sent, encrypted, for admins and replay."
)


class Listen(Section):
    """Where a service listens. A port that is not given is the platform's own for this machine."""

    host: str | None = Field(None, description="Address to bind. Default: HEADRACE_HOST.")
    grpc_port: int | None = Field(None, ge=0, le=65_535, description="gRPC port.")
    http_port: int | None = Field(None, ge=0, le=65_535, description="HTTP port, where the service has one.")
    ops_port: int | None = Field(None, ge=0, le=65_535, description="Port of /healthz, /readyz and /metrics.")


class Service(Section):
    """What every service has."""

    listen: Listen = Field(default_factory=Listen, description="Where it listens.")
    address: str | None = Field(None, description="host:port under which others reach its gRPC. Default: this machine.")
    drain_s: float = Field(
        20, ge=0, le=300, description="Seconds for open calls to end after SIGTERM. Keep below the pod's grace period."
    )
    postgres_connections: int = Field(4, ge=1, le=100, description="Most connections to PostgreSQL, per replica.")


class Idempotency(Section):
    """Answers to requests with an `Idempotency-Key`, kept so that a repeat gets them again."""

    ttl: Duration = Field(600, ge=1, le=86_400, description="How long an answer is kept.")
    max_answer_bytes: int = Field(
        1_048_576,
        ge=1024,
        le=67_108_864,
        description="Largest answer that is kept, in bytes; of a larger one a repeat is refused.",
    )
    memory_bytes: int = Field(
        33_554_432,
        ge=0,
        le=4_294_967_296,
        description="Most bytes of answers that a replica keeps in memory as well, for when Valkey is away.",
    )


class Notify(Section):
    """Where to tell people of what happened: a POST of JSON, at least once."""

    url: str | SecretRef = Field(description="Address, or the secret that holds it: those of Slack are secrets.")
    shape: Literal["plain", "slack"] = Field(
        "plain", description="`plain`: fields. `slack`: a message for an incoming webhook of Slack."
    )
    secret: Name | None = Field(
        None, description="Name of the secret that the header `x-headrace-signature` is made with. Default: not signed."
    )


class Gateway(Service):
    """The front door."""

    max_body_bytes: int = Field(8_388_608, ge=1024, le=1_073_741_824, description="Largest request body, in bytes.")
    max_upload_bytes: int = Field(
        52_428_800, ge=1024, le=1_073_741_824, description="Largest request that uploads files, in bytes."
    )
    max_header_bytes: int = Field(
        65_536,
        ge=8192,
        le=1_048_576,
        description="Largest request line and headers together, in bytes; more is refused with 431. Read at the start.",
    )
    max_connections: int = Field(
        8192,
        ge=16,
        le=1_000_000,
        description="HTTP connections at one time, idle ones included; others wait to be accepted. Read at the start.",
    )
    unread_timeout_s: float = Field(
        30,
        ge=1,
        le=3600,
        description="A client that takes nothing of what was sent to it for so many seconds is cut off. Read at the "
        "start.",
    )
    max_in_flight: int = Field(4096, ge=1, le=100_000, description="Requests at one time; more are refused with 429.")
    max_loop_lag_ms: int = Field(
        250,
        ge=0,
        le=60_000,
        description="Delay of the event loop, in ms, that stood for half a second: while it does, new requests are "
        "refused with 429, so that those inside are served in time. 0: never.",
    )
    stream_keep_alive_s: float = Field(
        15,
        ge=1,
        le=300,
        description="A stream that had nothing to send for so many seconds sends a comment, so that nothing between it "
        "and the caller takes it for dead. Keep below the idle timeout of proxies.",
    )
    release: str | None = Field(
        None,
        max_length=200,
        description="Release that the stable gateways run. A rollout of `service/gateway` to it is adopted. The chart "
        "sets it.",
    )
    console_session: Duration = Field(
        43_200, ge=60, le=2_592_000, description="How long somebody who logged in at the console stays logged in."
    )
    idempotency: Idempotency = Field(default_factory=Idempotency, description="Requests with an idempotency key.")
    notify: tuple[Notify, ...] = Field(
        (),
        max_length=8,
        description="Who is told when a share of a team's budget is spent (`alerts`): once each, over all gateways.",
    )
    webhook_hosts: tuple[str, ...] = Field(
        (),
        max_length=64,
        description="Hosts, in lower case, that webhooks may go to without TLS and at addresses that are not public.",
    )
    log_fsync_ms: int = Field(5, ge=0, le=1000, description="Longest wait of an event for its group commit, in ms.")


class Media(Section):
    """Images and audio in messages."""

    fetch: bool = Field(True, description="Fetch images that requests name by address. Otherwise only data URLs pass.")
    max_bytes: int = Field(10_485_760, ge=1024, le=268_435_456, description="Largest image or sound, in bytes.")
    max_parts: int = Field(16, ge=1, le=256, description="Most images and sounds of a request.")
    timeout: Duration = Field(10, gt=0, le=120, description="Longest time for fetching one image.")
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (),
        description="Networks that images may be fetched from although they are not public, on any port: for example "
        "a company's own image store. Every caller can then fetch images from there.",
    )


class Inference(Service):
    """The service that runs weights."""

    triton_address: str | None = Field(None, description="host:port of Triton's gRPC. Default: this machine.")
    triton_metrics_address: str | None = Field(
        None, description="host:port of Triton's metrics over HTTP. Default: this machine."
    )
    model_repository: Path | None = Field(
        None,
        description="Triton's model repository, where this service renders deployments that the config changes. "
        "Default: `triton/models` in the data directory. Where there is no such folder, somebody else fills Triton's.",
    )
    memory_gib: float | None = Field(
        None,
        gt=0,
        le=65_536,
        description="Memory that the deployments on this machine's CPUs may use together, in GiB; a config that needs "
        "more is refused. Default: the machine's memory.",
    )
    model_cache_gib: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Most GiB of model files on this machine; beyond it, those go that no deployment uses, the longest "
        "unused first. Default: no limit but the disk.",
    )
    hub_token: SecretRef = Field(
        SecretRef(secret="hub-token"), description="Token for the model hub, if it is set: gated models need one."
    )
    media: Media = Field(default_factory=Media, description="Images and audio in messages.")
    accept_licences: tuple[str, ...] | None = Field(
        None, description="Licences of catalogue entries that may be fetched and loaded. Default: any."
    )


class Memory(Section):
    """What is kept of people, in collections of the kind `memory`."""

    context_tokens: int = Field(
        2000,
        ge=64,
        le=1_000_000,
        description="Tokens of a conversation that are given as they were said; older turns are summed up.",
    )
    summary_tokens: int = Field(256, ge=16, le=8192, description="Longest summary of older turns, in tokens.")
    conversation_retention: Duration = Field(
        30 * 86_400, ge=60, description="A conversation is erased so long after its last turn."
    )
    fact_retention: Duration = Field(
        365 * 86_400, ge=60, description="A fact that does not say when it expires is erased so long after it was kept."
    )


class Retrieval(Service):
    """Documents and search."""

    reranker: Name = Field("reranker", description="Deployment that orders the best candidates.")
    candidates: int = Field(
        50, ge=1, le=1000, description="Passages that each of BM25 and vectors gives to the fusion."
    )
    rerank_candidates: int = Field(
        50, ge=1, le=1000, description="Passages that the reranker orders, at least `top_k`."
    )
    model_timeout: Duration = Field(
        10, gt=0, le=300, description="Longest wait for the embedding or reranking model while searching."
    )
    rewriter: Name | None = Field(
        None, description="Deployment that rewrites queries, at temperature 0. Default: none, and rewriting is refused."
    )
    rewrite_timeout: Duration = Field(
        5,
        gt=0,
        le=60,
        description="Longest wait for all rewriting of a query. Then it is searched for with what there is by then.",
    )
    embed_batch: int = Field(16, ge=1, le=1024, description="Passages per call to inference while ingesting.")
    max_file_bytes: int = Field(
        52_428_800,
        ge=1024,
        le=1_073_741_824,
        description="Largest upload, in bytes, all of its files together.",
    )
    memory: Memory = Field(default_factory=Memory, description="What is kept of people.")
    parsers: int = Field(2, ge=1, le=64, description="Files that are read at one time. Read at the start.")
    parse_timeout: Duration = Field(
        60, ge=1, le=3600, description="Longest that reading a file may take, in CPU time. Read at the start."
    )


class Guardrails(Service):
    """Policies."""

    max_text_bytes: int = Field(
        1_048_576, ge=1024, le=16_777_216, description="Longest text of a check, and of a whole stream, in UTF-8 bytes."
    )
    workers: int = Field(
        1, ge=0, le=64, description="Processes for guardrails-ai validators and spaCy. 0: policies with them fail."
    )
    review_ttl: Duration = Field(7 * 86_400, ge=60, description="An escalated text that nobody decides expires after.")
    review_claim: Duration = Field(900, ge=10, description="How long an item is its reviewer's.")
    review_approval: Duration = Field(
        86_400, ge=60, description="How long an approved text passes when it is sent again."
    )
    review_keep: Duration = Field(30 * 86_400, ge=60, description="Texts of decided items are erased after.")
    mask_ttl: Duration = Field(3600, ge=60, le=604_800, description="How long a conversation's masked values are kept.")
    release: str | None = Field(
        None,
        max_length=200,
        description="Release that runs. A rollout of `service/guardrails` to it is adopted. The chart sets it.",
    )
    canary_address: str | None = Field(
        None,
        description="host:port of the gRPC of a second release, which the gateway asks for the requests that a rollout "
        "of `service/guardrails` puts on it. The chart sets it.",
    )


class Tracing(Service):
    """Traces."""

    otlp_port: int | None = Field(None, ge=0, le=65_535, description="Port of OTLP over gRPC.")
    retention: Duration = Field(
        14 * 86_400,
        ge=3600,
        description="How long traces are kept, from their first span on, and at most a day longer.",
    )
    full_retention: Duration = Field(
        3 * 86_400,
        ge=3600,
        description="How long contents are kept as they were sent, encrypted, where `trace_content` is `full`; at most "
        "a day longer. What is redacted stays as long as the trace.",
    )
    disk_buffer_bytes: int = Field(
        256 * 2**20,
        ge=0,
        le=2**40,
        description="How much may wait on disk, in `tracing/spool` of the data folder, while PostgreSQL is away or "
        "slow: spans as they will be stored, packed. Beyond it senders are told to come again. 0: always.",
    )
    thin: Thin = Field(default_factory=Thin, description="Which traces keep their spans when they are over.")
    drift: Drift = Field(default_factory=Drift, description="When requests are told to have drifted.")
    retried: Retried = Field(default_factory=Retried, description="When a question counts as asked again.")
    forward: tuple[Forward, ...] = Field((), max_length=8, description="Who gets spans too. A change needs a restart.")


_NAMED = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"


class Routes(Section):
    """Where a service's weights are: routes of the Gateway API, in the Kubernetes namespace of the rollout service.

    Each rule of theirs that names both Services shares requests out between them.
    """

    http: str | None = Field(None, pattern=_NAMED, description="Name of the HTTPRoute.")
    grpc: str | None = Field(None, pattern=_NAMED, description="Name of the GRPCRoute.")
    stable: str = Field(pattern=_NAMED, description="Name of the Service of what runs.")
    canary: str = Field(pattern=_NAMED, description="Name of the Service of the candidate.")
    set_weights: bool = Field(
        True,
        description="Whether the rollout service sets the weights. Otherwise somebody else does, like Argo Rollouts; "
        "they are only read, outcomes are judged by them, and the weights of steps mean nothing.",
    )
    settle: Duration = Field(
        5,
        ge=0,
        le=300,
        description="How long proxies take at most to follow a change of weights. What comes meanwhile is not judged.",
    )
    ready_within: Duration = Field(
        600, ge=1, le=86_400, description="A candidate none of whose pods is ready by then is rolled back."
    )

    @model_validator(mode="after")
    def _some(self) -> Routes:
        if self.http is None and self.grpc is None:
            raise ValueError("name at least one route: http or grpc")
        return self


class Pods(Section):
    """Where a service's candidate runs whose callers share requests out by themselves: it has pods, and no routes."""

    canary: str | None = Field(
        None,
        pattern=_NAMED,
        description="Name of the Service of the candidate, in the Kubernetes namespace of the rollout service. "
        "Default: it runs outside of Kubernetes, and what listens at `canary_address` is asked whether it is ready.",
    )
    ready_within: Duration = Field(
        600, ge=1, le=86_400, description="A candidate none of whose pods is ready by then is rolled back."
    )


class Rollout(Service):
    """Model swaps."""

    notify: tuple[Notify, ...] = Field(
        (), max_length=8, description="Who is told of each start, step, hold, approval and end of a rollout."
    )
    webhook_hosts: tuple[str, ...] = Field(
        (),
        max_length=64,
        description="Hosts, in lower case, that may be told without TLS and at addresses that are not public.",
    )

    lease: Duration = Field(15, ge=1, le=300, description="How long a grant of weights holds without renewal.")
    model_rollouts: bool = Field(
        False,
        description="Follow `ModelRollout` resources of the Kubernetes namespace that the service runs in; the chart "
        "turns it on, with the rights that it takes. A change needs a restart.",
    )
    model_rollouts_lease: Name = Field(
        "headrace-rollout", description="Name of the `Lease` by which one replica of the service follows them."
    )
    routes: dict[Literal["gateway"], Routes] = Field(
        default_factory=dict,
        description="Where the weights of a new release of a service are. A change needs a restart.",
    )
    pods: dict[Literal["guardrails"], Pods] = Field(
        default_factory=dict,
        description="Where a new release of a service runs whose callers share requests out by themselves.",
    )


class Services(Section):
    """The six services."""

    gateway: Gateway = Field(default_factory=Gateway, description="The front door.")
    inference: Inference = Field(default_factory=Inference, description="The service that runs weights.")
    retrieval: Retrieval = Field(default_factory=Retrieval, description="Documents and search.")
    guardrails: Guardrails = Field(default_factory=Guardrails, description="Policies.")
    tracing: Tracing = Field(default_factory=Tracing, description="Traces.")
    rollout: Rollout = Field(default_factory=Rollout, description="Model swaps.")


class Stores(Section):
    """PostgreSQL is the record; Valkey holds what can be rebuilt."""

    postgres: SecretRef = Field(SecretRef(secret="postgres-dsn"), description="DSN of the role that services use.")
    postgres_admin: SecretRef = Field(
        SecretRef(secret="postgres-admin-dsn"), description="DSN of the role that owns the schemas; migrations only."
    )
    valkey: SecretRef = Field(SecretRef(secret="valkey-url"), description="redis:// URL.")


class Telemetry(Section):
    """Where spans and metrics go."""

    otlp_address: str | None = Field(None, description="host:port of an OTLP/gRPC receiver. Default: tracing.")
    own_receiver: bool | None = Field(
        None,
        description="Whether `otlp_address` is headrace's own tracing, with no collector before it, which redacts: "
        "content and ids of users are sent to no other. Default: only where no address is given.",
    )
    metrics_otlp_address: str | None = Field(
        None,
        description="host:port of an OTLP/gRPC receiver of metrics, such as a collector. Default: none, and Prometheus "
        "reads them as it does in any case. A change needs a restart.",
    )
    metrics_every: Duration = Field(60, ge=1, description="How often metrics are sent to that receiver.")
    sample: Percent = Field(10_000, description="Share of traces that are recorded.")
    content: TraceContent = Field("redacted", description="What traces keep of messages, passages and answers. " + KEPT)

    @property
    def to_own_tracing(self) -> bool:
        """Whether spans go to headrace's own tracing."""
        return self.otlp_address is None if self.own_receiver is None else self.own_receiver
