"""The same answer once: what callers ask again under a key is given again, not made again."""
