"""The gRPC front: the same calls as HTTP."""
