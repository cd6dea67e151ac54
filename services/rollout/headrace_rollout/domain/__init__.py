"""What rollout does, without transports or stores."""
