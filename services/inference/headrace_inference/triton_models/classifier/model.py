"""Probabilities of a text's labels: softmax over all, or sigmoid of each. Triton batches requests dynamically.

Input, one row a text: `text` (UTF-8). Outputs: `scores` (float32, one a label, in the order of the settings' `labels`),
`tokens` (what the text counted). A text that is too long is cut at its end.
"""

import numpy as np

from ..shared.onnx_model import OnnxModel
from ..shared.triton_rows import respond, texts_of


class TritonPythonModel:
    """Triton's entry point."""

    def initialize(self, args):
        self._model = OnnxModel(args)
        settings = self._model.settings
        self._labels = len(settings["labels"])
        self._probabilities = _sigmoid if settings["multi_label"] else _softmax
        self._model.tokenizer.enable_truncation(settings["max_input_tokens"])
        # Files do not always say how wide their output is.
        found = self._model.run(self._model.tokenizer.encode_batch(["x"]))[0].shape[1]
        if found != self._labels:
            raise ValueError("the model tells %d labels apart, the deployment names %d" % (found, self._labels))

    def execute(self, requests):
        return respond(requests, self._parse, self._classify, "scores")

    def _parse(self, request):
        return self._model.tokenizer.encode_batch(texts_of(request, "text"))

    def _classify(self, encodings):
        return self._model.compute(encodings, self._labels, lambda logits, mask: self._probabilities(logits))


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _sigmoid(logits):
    return 0.5 * (1 + np.tanh(0.5 * logits))
