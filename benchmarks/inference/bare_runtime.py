"""onnxruntime alone in a process: `python bare_runtime.py <deployment's settings.json>`, in Triton's environment.

The first line of its input is a JSON list of texts; each further line is a batch size, answered by the CPU seconds that
it took to embed all of them, tokens and pooling included, in batches of that size, of texts of like length.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers


def main() -> None:
    """Answer until the input ends."""
    settings = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    tokenizer = tokenizers.Tokenizer.from_file(settings["tokenizer"])
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings["max_input_tokens"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(settings["model"], options, providers=["CPUExecutionProvider"])
    texts = json.loads(sys.stdin.readline())
    embed(session, tokenizer, texts[:8], 1)
    for line in sys.stdin:
        started = time.process_time()
        embed(session, tokenizer, texts, int(line))
        print(time.process_time() - started, flush=True)


def embed(session: onnxruntime.InferenceSession, tokenizer: tokenizers.Tokenizer, texts: list[str], size: int) -> None:
    """Normalised mean vectors of all texts."""
    encodings = sorted(tokenizer.encode_batch(texts), key=len)
    for start in range(0, len(encodings), size):
        batch = encodings[start : start + size]
        ids = np.zeros((len(batch), len(batch[-1])), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(batch):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = session.run(None, feed)[0]
        total = np.matmul(mask[:, None, :].astype(np.float32), hidden)[:, 0]
        total /= np.linalg.norm(total, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
