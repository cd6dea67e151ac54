"""How model servers are scaled, by simulation."""
