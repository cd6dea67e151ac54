export NIM_MODEL_PATH=/models/chat
export NIM_SERVER_PORT=8000
export VLLM_API_KEY="$HEADRACE_SECRET_NIM_KEY"
exec nim-serve \
  --served-model-name whole \
  --max-model-len 16384 \
  --max-num-seqs 64 \
  --tensor-parallel-size 2 \
  --pipeline-parallel-size 2 \
  --kv-cache-dtype fp8 \
  --enable-prefix-caching \
  --max-num-batched-tokens 4096 \
  --gpu-memory-utilization 0.85 \
  --dtype bfloat16 \
  --enable-lora \
  --max-loras 2 \
  --max-cpu-loras 2 \
  --max-lora-rank 32 \
  --speculative-config '{"method": "mtp", "num_speculative_tokens": 2, "num_speculative_tokens_per_batch_size": [[1, 8, 2], [9, 32, 1], [33, 64, 0]]}' \
  --lora-modules legal=/models/legal-lora support=/models/support-lora \
  --enable-auto-tool-choice \
  --tool-call-parser llama3_json \
  --enable-prompt-tokens-details
