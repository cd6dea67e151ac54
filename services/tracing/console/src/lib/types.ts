/** The shapes of the API that pages read. */

export interface List<T> {
  data: T[];
  next_page_token?: string;
}

export interface Model {
  id: string;
  task: string;
}

export interface Collection {
  name: string;
}

export interface UsageRow {
  hour?: string;
  day?: string;
  tenant?: string;
  model?: string;
  deployment?: string;
  key?: string;
  requests: number;
  input_tokens: number;
  output_tokens: number;
  cost_usd: string;
  overhead_usd: string;
  cache_hits: number;
  saved_usd: string;
}

export interface Budget {
  per: string;
  budget_usd: string;
  spent_usd: string;
  reserved_usd: string;
  remaining_usd: string;
  resets_at: string;
  current: boolean;
}

export interface BudgetState {
  tenant: string;
  budgets: Budget[];
  limits: Record<"requests_per_minute" | "tokens_per_minute" | "concurrent_requests", number | null>;
}

export interface Percentiles {
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

export interface Measures {
  requests: number;
  errors: number;
  error_rate: number | null;
  input_tokens: number;
  output_tokens: number;
  cost_usd: string;
  duration_ms: Percentiles;
  ttft_ms: Percentiles;
  tpot_ms: Percentiles;
  cache_hit_rate: number | null;
  escalation_rate: number | null;
  flagged: number;
  feedback: number | null;
  feedback_count: number;
}

export interface AggregateRow {
  group: Record<string, string>;
  time: string;
  measures: Measures;
}

export interface Aggregate {
  data: AggregateRow[];
  from: string;
  to: string;
  more: boolean;
}

export interface Difference {
  measure: string;
  a: number | null;
  b: number | null;
  change: number | null;
  p_value: number | null;
}

export interface Comparison {
  a: Measures;
  b: Measures;
  differences: Difference[];
}

export interface TraceSummary {
  trace_id: string;
  tenant: string;
  name: string;
  model: string;
  start_time: string;
  duration_ms: number;
  input_tokens: number;
  output_tokens: number;
  cost_usd: string;
  status: string;
  spans: number;
  deployment?: string;
  arm?: string;
  operation?: string;
  cache?: string;
  error?: string;
  session?: string;
  rollout?: string;
  config_hash?: string;
  ttft_ms?: number | null;
  tpot_ms?: number | null;
  stages?: number;
  findings?: string[];
  feedback?: number | null;
  feedback_count?: number;
  question?: string;
  capture?: string;
  spans_thinned?: number;
  saved?: boolean;
}

export interface Drift {
  tenant: string;
  model: string;
  collection: string;
  feature: string;
  drifted: boolean;
  psi: number;
  test: string;
  p_value?: number | null;
  q_value?: number | null;
  count: number;
  reference_count: number;
  bins: { name: string; count: number; reference_count: number; from?: number | null; to?: number | null }[];
  days: { day: string; count: number; psi: number }[];
}

export interface DriftFound {
  data: Drift[];
  tests: number;
  from: string;
  to: string;
  reference_from: string;
  reference_to: string;
  more: boolean;
}

export interface Turn {
  role: string;
  text: string;
  more_json?: string;
}

export interface Passage {
  number: number;
  collection: string;
  document_id: string;
  chunk_id: string;
  title: string;
  text: string;
  score: number | null;
  start: number;
  end: number;
  page: number;
  cited: boolean;
  quotes: string[];
}

export interface Content {
  capture: string;
  input: Turn[];
  output: Turn[];
  passages: Passage[];
  options_json?: string;
}

export interface Decision {
  span_id: string;
  stage: number;
  attempt: number;
  deployment: string;
  verdict: string;
  confidence: number | null;
  signal: string;
  moment: string;
  reason: string;
  error: string;
  offset_ms: number;
  duration_ms: number;
  cost_usd: string;
  input_tokens: number;
  output_tokens: number;
}

export interface Finding {
  direction: string;
  check: string;
  kind: string;
  action: string;
  count: number;
}

export interface SpanEvent {
  name: string;
  time: string;
  attributes: Record<string, unknown>;
}

export interface Span {
  span_id: string;
  parent_span_id: string;
  service: string;
  name: string;
  kind: string;
  start_time: string;
  duration_ms: number;
  status: string;
  status_message: string;
  attributes: Record<string, unknown>;
  events: SpanEvent[];
  offset_ms?: number;
  self_ms?: number;
  depth?: number;
  content?: Content | null;
}

export interface Feedback {
  id: string;
  span_id: string | null;
  score: number | null;
  label: string | null;
  comment: string | null;
  correction?: string | null;
  source?: string;
  created_at: string;
}

export interface Trace {
  trace_id: string;
  tenant: string;
  start_time: string;
  duration_ms: number;
  input_tokens: number;
  output_tokens: number;
  cost_usd: string;
  status: string;
  spans: Span[];
  feedback: Feedback[];
  spans_left_out?: number;
  summary?: TraceSummary;
  content?: Content | null;
  decisions?: Decision[];
  findings?: Finding[];
}

export interface Session {
  session: string;
  tenant: string;
  start_time: string;
  end_time: string;
  traces: number;
  errors: number;
  input_tokens: number;
  output_tokens: number;
  cost_usd: string;
  feedback: number | null;
  question: string;
  user: string;
  models: string[];
}

export interface Verdict {
  metric: string;
  state: string;
  estimate: number | null;
  low: number | null;
  high: number | null;
  margin: number | null;
  alpha: number;
  evidence: number;
  n_baseline: number;
  n_candidate: number;
  reason: string;
  paired: boolean;
}

export interface Step {
  weight?: string | number;
  shadow?: string | number;
  at_least?: string | number;
  at_most?: string | number;
  [name: string]: unknown;
}

export interface Rollout {
  id: string;
  model: string;
  state: string;
  step: number;
  steps: number;
  weight: number;
  shadow: number;
  holds: string;
  served_s: number;
  verdicts: Verdict[];
  spec: { candidate?: unknown; steps?: Step[] } | null;
  reason: string;
  source: string;
  created_at: string;
  step_started_at: string;
}

export interface Explanation {
  rollout: Rollout;
  transitions: { at: string; state: string; step: number; weight: number; reason: string; actor: string }[];
  decisions: { at: string; step: number; action: string; reason: string; verdicts: Verdict[] }[];
  points: {
    at: string;
    metric: string;
    state: string;
    estimate: number | null;
    low: number | null;
    high: number | null;
    margin: number | null;
  }[];
}

export interface Outcome {
  trace_id: string;
  deployment: string;
  arm: string;
  stages: { stage?: number; deployment: string; verdict: string; confidence?: number | null; signal?: string }[];
  citations: { document_id: string; quote?: string; number?: number }[];
  guardrails: { direction?: string; check: string; kind: string; action: string; review_id?: string }[];
  cost_usd: string;
  cache: string;
}

export interface Review {
  id: string;
  state: string;
  tenant: string;
  user: string;
  policy: string;
  version: string;
  direction: string;
  findings: { check: string; kind: string; action: string; start: number; end: number; score: number }[];
  trace_id: string;
  created_at: string;
  expires_at: string;
  claimed_by: string;
  claimed_until: string;
  decided_by: string;
  decided_at: string;
  reason: string;
  /** Not in a list, and not once it is erased. */
  text?: string;
}
