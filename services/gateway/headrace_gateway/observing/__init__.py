"""Spans and metrics, made off the request's path."""
