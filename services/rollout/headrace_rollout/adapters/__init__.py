"""PostgreSQL behind `headrace_rollout.ports`."""
