"""Scores of query and document by a cross-encoder: logit of relevant minus logit of not. Triton batches dynamically.

Inputs, one row a pair: `query`, `document` (UTF-8). Outputs: `score` (float32), `tokens` (what the pair counted).
A pair that is too long is cut at its end.
"""

import numpy as np
import triton_python_backend_utils as pb_utils

from ..shared.onnx_model import OnnxModel
from ..shared.texts import batches


class TritonPythonModel:
    """Triton's entry point."""

    def initialize(self, args):
        self._model = OnnxModel(args)
        self._model.tokenizer.enable_truncation(self._model.settings["max_input_tokens"])

    def execute(self, requests):
        parsed = [self._parse(request) for request in requests]
        encodings = [encoding for item in parsed for encoding in item]
        scores = np.zeros((len(encodings), 1), dtype=np.float32)
        for batch in batches([len(encoding.ids) for encoding in encodings]):
            logits, _ = self._model.run([encodings[index] for index in batch])
            scores[batch, 0] = logits[:, 1] - logits[:, 0]
        responses, start = [], 0
        for item in parsed:
            tokens = np.array([[len(encoding.ids)] for encoding in item], dtype=np.int32)
            outputs = [
                pb_utils.Tensor("score", scores[start : start + len(item)]),
                pb_utils.Tensor("tokens", tokens),
            ]
            start += len(item)
            responses.append(pb_utils.InferenceResponse(output_tensors=outputs))
        return responses

    def _parse(self, request):
        queries = pb_utils.get_input_tensor_by_name(request, "query").as_numpy().reshape(-1)
        documents = pb_utils.get_input_tensor_by_name(request, "document").as_numpy().reshape(-1)
        pairs = [
            "Query: %s\nSentence: %s" % (query.decode("utf-8", "replace"), document.decode("utf-8", "replace"))
            for query, document in zip(queries, documents, strict=True)
        ]
        return self._model.tokenizer.encode_batch(pairs)
