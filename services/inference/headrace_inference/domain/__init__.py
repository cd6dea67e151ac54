"""What inference does with a request between transport and engine."""
