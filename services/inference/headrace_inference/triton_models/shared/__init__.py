"""What several models use."""
