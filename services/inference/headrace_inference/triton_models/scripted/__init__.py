"""A stand-in for a language model that says what it is told to."""
