"""The platform on one machine: embedded PostgreSQL, Valkey and Triton under one supervisor."""
