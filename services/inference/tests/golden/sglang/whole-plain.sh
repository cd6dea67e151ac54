# The key shows in the list of processes: give the server a machine or a container of its own.
export HF_HUB_OFFLINE=1
exec python3 -m sglang.launch_server \
  --model-path /models/chat \
  --served-model-name whole \
  --host 0.0.0.0 \
  --port 30001 \
  --context-length 16384 \
  --max-running-requests 64 \
  --tp-size 2 \
  --pp-size 2 \
  --kv-cache-dtype fp8_e4m3 \
  --mem-fraction-static 0.85 \
  --max-prefill-tokens 4096 \
  --chunked-prefill-size 4096 \
  --quantization fp8 \
  --enable-multimodal \
  --limit-mm-data-per-request '{"image": 16, "audio": 0}' \
  --enable-lora \
  --max-loras-per-batch 3 \
  --max-lora-rank 24 \
  --lora-paths legal=/models/legal-lora support=/models/support-lora \
  --tool-call-parser auto \
  --enable-metrics \
  --enable-cache-report \
  --api-key "$HEADRACE_SECRET_SGLANG_KEY"
