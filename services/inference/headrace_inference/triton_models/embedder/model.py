"""Texts to vectors: masked mean of the last hidden state, L2-normalised. Triton batches requests dynamically.

Inputs, one row a text: `text` (UTF-8), `truncate` (cut what is too long instead of refusing it).
Outputs: `embedding` (float32), `tokens` (what the text counted).
A text that is too long ends its request with INVALID_ARG and `{"row", "tokens", "limit"}` as JSON.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

from ..shared.onnx_model import OnnxModel
from ..shared.texts import batches


class TritonPythonModel:
    """Triton's entry point."""

    def initialize(self, args):
        self._model = OnnxModel(args)
        self._limit = self._model.settings["max_input_tokens"]
        self._dimensions = self._model.settings["dimensions"]

    def execute(self, requests):
        parsed = [self._parse(request) for request in requests]
        rows = [encoding for item in parsed if isinstance(item, list) for encoding in item]
        vectors = self._embed(rows)
        responses, start = [], 0
        for item in parsed:
            if not isinstance(item, list):
                responses.append(pb_utils.InferenceResponse(error=item))
                continue
            tokens = np.array([[len(encoding.ids)] for encoding in item], dtype=np.int32)
            outputs = [
                pb_utils.Tensor("embedding", vectors[start : start + len(item)]),
                pb_utils.Tensor("tokens", tokens),
            ]
            start += len(item)
            responses.append(pb_utils.InferenceResponse(output_tensors=outputs))
        return responses

    def _parse(self, request):
        """The encodings of a request's texts, or the error it ends with."""
        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)
        truncate = pb_utils.get_input_tensor_by_name(request, "truncate").as_numpy().reshape(-1)
        encodings = self._model.tokenizer.encode_batch([text.decode("utf-8", "replace") for text in texts])
        for number, encoding in enumerate(encodings):
            if len(encoding.ids) <= self._limit:
                continue
            if not truncate[number]:
                too_long = {"row": number, "tokens": len(encoding.ids), "limit": self._limit}
                return pb_utils.TritonError(json.dumps(too_long), pb_utils.TritonError.INVALID_ARG)
            encodings[number] = self._cut(texts[number].decode("utf-8", "replace"))
        return encodings

    def _cut(self, text):
        tokenizer = self._model.tokenizer
        tokenizer.enable_truncation(self._limit)
        try:
            return tokenizer.encode(text)
        finally:
            tokenizer.no_truncation()

    def _embed(self, encodings):
        vectors = np.zeros((len(encodings), self._dimensions), dtype=np.float32)
        for batch in batches([len(encoding.ids) for encoding in encodings]):
            hidden, mask = self._model.run([encodings[index] for index in batch])
            weights = mask[:, :, None].astype(np.float32)
            mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
            vectors[batch] = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        return vectors
