"""Quality against cost of routing and cascades, on recorded answers."""
