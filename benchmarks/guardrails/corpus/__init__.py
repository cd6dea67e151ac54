"""Texts of this repository's own, by family: attacks, and ordinary texts that share their words."""
