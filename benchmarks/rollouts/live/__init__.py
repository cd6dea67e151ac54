"""What simulation cannot tell: rollouts over real processes, under load."""
