"""Scores of query and document by a cross-encoder: logit of relevant minus logit of not. Triton batches dynamically.

Inputs, one row a pair: `query`, `document` (UTF-8). Outputs: `score` (float32), `tokens` (what the pair counted).
A pair that is too long is cut at its end.
"""

from ..shared.onnx_model import OnnxModel
from ..shared.triton_rows import respond, texts_of


class TritonPythonModel:
    """Triton's entry point."""

    def initialize(self, args):
        self._model = OnnxModel(args)
        self._model.tokenizer.enable_truncation(self._model.settings["max_input_tokens"])

    def execute(self, requests):
        return respond(requests, self._parse, self._score, "score")

    def _parse(self, request):
        queries, documents = texts_of(request, "query"), texts_of(request, "document")
        pairs = ["Query: %s\nSentence: %s" % pair for pair in zip(queries, documents, strict=True)]
        return self._model.tokenizer.encode_batch(pairs)

    def _score(self, encodings):
        return self._model.compute(encodings, 1, lambda logits, mask: logits[:, 1:2] - logits[:, 0:1])
