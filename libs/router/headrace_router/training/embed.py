"""Embeddings of prompts by a local ONNX model (MiniLM and the like): masked mean of the last hidden state, length 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from headrace_router.prompt import embedded_text
from headrace_router.training.dataset import DatasetInvalid

MOST_TOKENS = 256


class LocalEmbedder:
    """Embeds one prompt at a time.

    Args:
        model: `model.onnx`, with the inputs input_ids, attention_mask and perhaps token_type_ids.
        tokenizer: its `tokenizer.json`.
        threads: of the CPU; 0 stands for all.

    Raises:
        DatasetInvalid: one of the files is missing or not what it should be.
    """

    def __init__(self, model: Path, tokenizer: Path, threads: int = 0) -> None:
        for file in (model, tokenizer):
            if not file.is_file():
                raise DatasetInvalid(f"{file}: there is no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # both libraries raise bare exceptions of their own
            raise DatasetInvalid(f"{model}: it cannot be loaded: {str(error)[:200]}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        self._inputs = {given.name for given in self._session.get_inputs()}

    def embed(self, prompts: Sequence[str]) -> Iterator[list[float]]:
        """A vector a prompt, in order, of the part that a router embeds."""
        for prompt in prompts:
            encoded = self._tokenizer.encode(embedded_text(prompt))
            ids = np.array([encoded.ids], dtype=np.int64)
            given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            hidden = self._session.run(None, {name: given[name] for name in self._inputs})[0]
            mean = hidden[0].mean(axis=0)
            yield (mean / max(float(np.linalg.norm(mean)), 1e-12)).tolist()
