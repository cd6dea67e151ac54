"""Collections, ingestion, hybrid search, rights and citations."""
