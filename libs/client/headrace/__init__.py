"""The headrace Python client and the headrace command."""
