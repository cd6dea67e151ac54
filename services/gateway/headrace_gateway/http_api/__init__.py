"""The HTTP front: one request/response port with a face for granian and one for Ray Serve."""
