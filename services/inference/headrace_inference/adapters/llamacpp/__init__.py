"""llama.cpp without Triton."""
