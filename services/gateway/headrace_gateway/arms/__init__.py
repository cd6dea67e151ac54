"""Which arm of a rollout a request is on."""
