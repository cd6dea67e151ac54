"""What retrieval is about: collections, documents, rights, search. Knows no transport and no store."""
