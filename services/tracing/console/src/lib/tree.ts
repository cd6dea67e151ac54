/** Spans of a trace in the order of a waterfall. */
import type { Span } from "./types";

export interface Row {
  span: Span;
  depth: number;
  /** Milliseconds from the trace's start. */
  offset: number;
  /** Of all rows below it that are its own, how many there are. */
  below: number;
}

/** Parents before children, siblings by time. A span whose parent is missing is a root; a circle loses nothing. */
export function rows(spans: Span[]): Row[] {
  const known = new Set(spans.map((span) => span.span_id));
  const children = new Map<string, Span[]>();
  const start = Math.min(...spans.map((span) => Date.parse(span.start_time)));
  for (const span of spans) {
    const parent = known.has(span.parent_span_id) && span.parent_span_id !== span.span_id ? span.parent_span_id : "";
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const made: Row[] = [];
  const seen = new Set<string>();

  function visit(span: Span, depth: number): number {
    if (seen.has(span.span_id)) return 0;
    seen.add(span.span_id);
    const row: Row = { span, depth, offset: span.offset_ms ?? Date.parse(span.start_time) - start, below: 0 };
    made.push(row);
    for (const child of children.get(span.span_id) ?? []) row.below += visit(child, depth + 1);
    return row.below + 1;
  }

  for (const root of children.get("") ?? []) visit(root, 0);
  for (const span of spans) visit(span, 0);
  return made;
}
