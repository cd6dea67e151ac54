"""TracingService over gRPC."""
