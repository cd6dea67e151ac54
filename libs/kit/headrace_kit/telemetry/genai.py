"""Names of the OpenTelemetry GenAI conventions, all "Development" there, so they are kept in this one file.

Source: github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai.
"""

from __future__ import annotations

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai/1.42.0"

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
CONVERSATION_ID = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_SEED = "gen_ai.request.seed"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ_INPUT_TOKENS = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_CREATION_INPUT_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
USAGE_REASONING_OUTPUT_TOKENS = "gen_ai.usage.reasoning.output_tokens"
ERROR_TYPE = "error.type"

INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"

OPERATION_CHAT = "chat"
OPERATION_TEXT_COMPLETION = "text_completion"
OPERATION_EMBEDDINGS = "embeddings"
OPERATION_RETRIEVAL = "retrieval"
OPERATION_RERANK = "rerank"

# Ours, for what the conventions have no name for.
TENANT = "headrace.tenant"
REQUEST_ID = "headrace.request_id"
CONFIG_HASH = "headrace.config_hash"
DEPLOYMENT = "headrace.deployment"
ARM = "headrace.arm"
TRACK = "headrace.track"
RELEASE = "headrace.release"
COST_NANO_USD = "headrace.cost_nano_usd"
STAGE = "headrace.stage"
ATTEMPT = "headrace.attempt"
CHOSEN_BY = "headrace.route.chosen_by"
REASON = "headrace.attempt.reason"
VERDICT = "headrace.cascade.verdict"
CONFIDENCE = "headrace.cascade.confidence"
SIGNAL = "headrace.cascade.signal"
MOMENT = "headrace.cascade.moment"
KEY_ID = "headrace.key_id"
ROLLOUT = "headrace.rollout_id"
CACHE = "headrace.cache"
USER = "headrace.user"
"""Who asks. Tracing keeps a keyed digest of it and never the id itself."""

COLLECTIONS = "headrace.collection.names"
FINDINGS = "headrace.guard.found"
"""What guardrails found: a list of `direction:check.kind:action:count`."""

GROUNDEDNESS = "headrace.grounding.score"
"""How far the answer is grounded in its passages, 0 to 1."""

PASSAGES = "headrace.content.passages"
"""Content: the passages that stood in the prompt, as a JSON list."""

OPTIONS = "headrace.content.options"
"""Content: the request's options, as a JSON object."""

BILLED = "headrace.billed"
"""True on the one span per attempt whose tokens and cost count towards a trace's sums."""

EVENT_FIRST_TOKEN = "headrace.first_token"  # noqa: S105
EVENT_ESCALATED = "headrace.escalated"
"""An answer of a cascade's stage was rejected; the next one is asked."""

EVENT_FALLBACK = "headrace.fallback"
EVENT_FINDING = "headrace.guard.finding"
EVENT_CACHE_HIT = "headrace.cache.hit"
