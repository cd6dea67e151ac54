"""The HTTP and gRPC front door: keys, limits, budgets, routing, cascades, ledger."""
