"""The record: collections, documents, passages, vectors, the queue and the outbox."""
