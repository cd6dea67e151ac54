"""What calls return: msgspec structs in the shapes of the HTTP API. Unknown fields are ignored."""

from headrace.types.admin import ConfigVersion, CreatedKey, Deployment, DeploymentLoad, Key, Rollout
from headrace.types.chat import (
    ChatChunk,
    ChatCompletion,
    ChatOptions,
    Choice,
    ChunkChoice,
    Citation,
    Delta,
    FunctionCall,
    GuardFinding,
    Message,
    Outcome,
    StageOutcome,
    ToolCall,
    Usage,
)
from headrace.types.documents import Acl, Collection, Document, DocumentInfo, IngestJob, Passage, Span
from headrace.types.guardrails import Finding, Verdict
from headrace.types.models import Embedding, Embeddings, Model, Ranked, Ranking
from headrace.types.traces import Feedback, Trace, TracePage, TraceSpan, TraceSummary
from headrace.types.usage import UsageRow

__all__ = [
    "Acl",
    "ChatChunk",
    "ChatCompletion",
    "ChatOptions",
    "Choice",
    "ChunkChoice",
    "Citation",
    "Collection",
    "ConfigVersion",
    "CreatedKey",
    "Delta",
    "Deployment",
    "DeploymentLoad",
    "Document",
    "DocumentInfo",
    "Embedding",
    "Embeddings",
    "Feedback",
    "Finding",
    "FunctionCall",
    "GuardFinding",
    "IngestJob",
    "Key",
    "Message",
    "Model",
    "Outcome",
    "Passage",
    "Ranked",
    "Ranking",
    "Rollout",
    "Span",
    "StageOutcome",
    "ToolCall",
    "Trace",
    "TracePage",
    "TraceSpan",
    "TraceSummary",
    "Usage",
    "UsageRow",
    "Verdict",
]
