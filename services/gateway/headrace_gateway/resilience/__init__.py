"""Attempts on one stage: retries before the first token, then fallbacks."""
