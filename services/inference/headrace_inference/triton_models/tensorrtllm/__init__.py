"""TensorRT-LLM's LLM API: the model is NVIDIA's, found in the container."""
