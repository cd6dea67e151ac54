"""PostgreSQL and the detectors behind `headrace_tracing.ports`."""
