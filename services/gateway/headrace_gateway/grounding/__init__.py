"""Passages in the prompt, and the citations made of them."""
