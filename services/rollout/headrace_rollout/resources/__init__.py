"""Rollouts as Kubernetes resources of the kind `ModelRollout`: what `rollouts:` of the config says, as an object."""
