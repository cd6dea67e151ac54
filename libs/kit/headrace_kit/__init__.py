"""What every headrace service shares: config, errors, rpc, hosting, stores, telemetry."""
