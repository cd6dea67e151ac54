"""GGUF language models on llama.cpp."""
