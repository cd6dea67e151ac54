"""What looks at texts."""
