"""Canary, shadow, analysis, promotion and rollback of model swaps."""
