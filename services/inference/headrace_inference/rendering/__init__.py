"""From typed deployments to what engines read."""
