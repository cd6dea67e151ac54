"""How quickly the platform starts, how much memory it takes idle, and what it adds to the first token."""
