"""PostgreSQL and Valkey: pools that survive the store's absence, and migrations."""
