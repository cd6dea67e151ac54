"""Ray Serve on one machine, listening on loopback only: settings, shims, and the start and recovery of a session."""
