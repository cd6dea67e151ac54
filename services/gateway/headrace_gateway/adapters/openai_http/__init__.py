"""Endpoints outside that speak OpenAI's API: an HTTP client of our own, and the engine port over it."""
