"""Ways in for spans: OTLP, the standard protocol, and the gateway's records of requests."""
