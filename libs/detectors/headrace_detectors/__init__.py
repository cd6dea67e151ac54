"""Fast tier-1 checks: PII, secrets, patterns, Unicode tricks."""
