"""Every attempt is an event: local log, shipped on, written down exactly once."""
