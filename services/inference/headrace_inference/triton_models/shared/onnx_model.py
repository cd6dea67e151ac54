"""An ONNX model with its tokenizer, on a fixed number of CPU threads."""

import json
from pathlib import Path

import onnxruntime
import tokenizers

from .texts import pad


class OnnxModel:
    """Settings, tokenizer and session of one deployment.

    Args:
        args: what Triton gives to `initialize`.
    """

    def __init__(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        self.settings = json.loads((folder / "settings.json").read_text("utf-8"))
        # Files come with padding and truncation of their own; we do both ourselves.
        self.tokenizer = tokenizers.Tokenizer.from_file(self.settings["tokenizer"])
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.settings["threads"]
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # The arena keeps the largest batch ever seen; without it memory stays flat.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(
            self.settings["model"], options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {entry.name for entry in self._session.get_inputs()}

    def run(self, encodings):
        """First output and the attention mask of a batch."""
        feed = pad(encodings)
        output = self._session.run(None, {name: array for name, array in feed.items() if name in self._inputs})[0]
        return output, feed["attention_mask"]
