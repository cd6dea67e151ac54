"""The only service that runs weights: Triton, vLLM, SGLang, llama.cpp and hosted providers."""
