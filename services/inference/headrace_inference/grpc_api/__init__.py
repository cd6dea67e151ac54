"""`headrace.inference.v1` over the domain."""
