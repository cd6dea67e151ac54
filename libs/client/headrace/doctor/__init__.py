"""What is wrong with an installation: found by looking, told with what to do."""
