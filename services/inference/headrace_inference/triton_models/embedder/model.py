"""Texts to vectors: masked mean of the last hidden state, L2-normalised. Triton batches requests dynamically.

Inputs, one row a text: `text` (UTF-8), `truncate` (cut what is too long instead of refusing it).
Outputs: `embedding` (float32), `tokens` (what the text counted).
A text that is too long ends its request with INVALID_ARG and `{"row", "tokens", "limit"}` as JSON.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

from ..shared.onnx_model import OnnxModel
from ..shared.triton_rows import respond, texts_of


class TritonPythonModel:
    """Triton's entry point."""

    def initialize(self, args):
        self._model = OnnxModel(args)
        self._limit = self._model.settings["max_input_tokens"]
        self._dimensions = self._model.settings["dimensions"]

    def execute(self, requests):
        return respond(requests, self._parse, self._embed, "embedding")

    def _parse(self, request):
        """The encodings of a request's texts, or the error it ends with."""
        texts = texts_of(request, "text")
        truncate = pb_utils.get_input_tensor_by_name(request, "truncate").as_numpy().reshape(-1)
        encodings = self._model.tokenizer.encode_batch(texts)
        for number, encoding in enumerate(encodings):
            if len(encoding) <= self._limit:
                continue
            if not truncate[number]:
                too_long = {"row": number, "tokens": len(encoding), "limit": self._limit}
                return pb_utils.TritonError(json.dumps(too_long), pb_utils.TritonError.INVALID_ARG)
            encodings[number] = self._cut(texts[number])
        return encodings

    def _cut(self, text):
        tokenizer = self._model.tokenizer
        tokenizer.enable_truncation(self._limit)
        try:
            return tokenizer.encode(text)
        finally:
            tokenizer.no_truncation()

    def _embed(self, encodings):
        return self._model.compute(encodings, self._dimensions, _pooled)


def _pooled(hidden, mask):
    # The sum over the tokens that are there; its length does not matter, for it is normalised.
    total = np.matmul(mask[:, None, :].astype(np.float32), hidden)[:, 0]
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
