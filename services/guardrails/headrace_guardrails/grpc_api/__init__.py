"""`headrace.guardrails.v1` over the domain."""
