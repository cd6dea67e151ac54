"""What runs in the background: documents become searchable, and the lexical index follows the record."""
