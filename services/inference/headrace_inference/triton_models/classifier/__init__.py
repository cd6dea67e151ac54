"""Probabilities of labels for a text."""
