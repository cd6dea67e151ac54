"""What tracing does, without transports or stores."""
