"""OTLP in, redaction, store, query, cost, replay, console."""
