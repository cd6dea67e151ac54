"""Models of hosted providers, by litellm."""
