"""Tier-1 guardrail checks over what goes in and what comes out."""
