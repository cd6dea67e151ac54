"""Servers of our own that speak OpenAI's API over HTTP: vLLM, SGLang, NIM and TGI."""
