"""Prompt injection and jailbreaks, by meaning: a calibrated ensemble over small models."""
