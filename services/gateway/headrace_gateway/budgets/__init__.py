"""Money: what a tenant may spend in a period, reserved in memory from slices that are leased in the background."""
