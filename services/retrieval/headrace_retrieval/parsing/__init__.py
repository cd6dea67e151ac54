"""Files to text: what a format is, who reads it, and a process of its own to read it in."""
