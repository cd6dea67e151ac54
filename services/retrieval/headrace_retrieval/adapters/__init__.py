"""What fulfils the ports: PostgreSQL, tantivy, and inference."""
