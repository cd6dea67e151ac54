"""Policies over input, retrieved text, output and tool calls."""
