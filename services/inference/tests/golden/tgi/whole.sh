export HF_HUB_OFFLINE=1
export PREFIX_CACHING=0
export USE_PREFIX_CACHING=0
export API_KEY="$HEADRACE_SECRET_TGI_KEY"
exec text-generation-launcher \
  --model-id /models/chat \
  --hostname 127.0.0.1 \
  --port 8080 \
  --max-total-tokens 16384 \
  --max-input-tokens 16383 \
  --max-batch-size 64 \
  --max-concurrent-requests 256 \
  --num-shard 2 \
  --max-batch-prefill-tokens 4096 \
  --cuda-memory-fraction 0.85 \
  --kv-cache-dtype fp8_e4m3fn \
  --quantize awq \
  --lora-adapters legal=/models/legal-lora,support=/models/support-lora \
  --speculate 2 \
  --usage-stats off
