"""OTLP in: the standard protocol that spans arrive by."""
