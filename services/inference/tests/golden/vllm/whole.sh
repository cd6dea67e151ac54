export HF_HUB_OFFLINE=1
export VLLM_NO_USAGE_STATS=1
export VLLM_API_KEY="$HEADRACE_SECRET_VLLM_KEY"
exec vllm serve /models/chat \
  --served-model-name chat-v2 \
  --host 0.0.0.0 \
  --port 8000 \
  --max-model-len 16384 \
  --max-num-seqs 64 \
  --tensor-parallel-size 2 \
  --pipeline-parallel-size 2 \
  --kv-cache-dtype fp8 \
  --enable-prefix-caching \
  --max-num-batched-tokens 4096 \
  --enable-chunked-prefill \
  --gpu-memory-utilization 0.85 \
  --quantization modelopt_fp4 \
  --limit-mm-per-prompt '{"image": 16, "audio": 16}' \
  --enable-lora \
  --max-loras 2 \
  --max-cpu-loras 2 \
  --max-lora-rank 32 \
  --speculative-config '{"method": "eagle3", "num_speculative_tokens": 4, "model": "/models/head"}' \
  --lora-modules legal=/models/legal-lora support=/models/support-lora \
  --enable-auto-tool-choice \
  --tool-call-parser hermes \
  --enable-prompt-tokens-details
