"""OpenTelemetry set-up, metric registry and structured logs."""
