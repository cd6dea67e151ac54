"""How well guardrails find what they are for, how seldom they are wrong, and what they cost."""
