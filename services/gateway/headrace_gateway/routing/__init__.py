"""A config snapshot compiled into what requests look up, and when it becomes active."""
