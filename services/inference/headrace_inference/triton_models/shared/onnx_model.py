"""An ONNX model with its tokenizer, on a fixed number of CPU threads."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers

from .texts import batches, pad

TOKENS_PER_RUN = 256
"""Tokens computed in one go, for each thread.

On a CPU a batch pays until its numbers no longer fit the caches: MiniLM makes twice as many vectors a CPU second at 256
as at 4096, for short texts and long ones.
"""


class OnnxModel:
    """Settings, tokenizer and session of one deployment.

    Args:
        args: what Triton gives to `initialize`.
    """

    def __init__(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        self.settings = json.loads((folder / "settings.json").read_text("utf-8"))
        threads = self.settings["threads"]
        # The process is this model's alone; without this the tokenizer takes every core.
        os.environ["RAYON_NUM_THREADS"] = str(threads)
        # Files come with padding and truncation of their own; we do both ourselves.
        self.tokenizer = tokenizers.Tokenizer.from_file(self.settings["tokenizer"])
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # Threads that wait for work otherwise spin.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena keeps the largest batch ever seen; without it memory stays flat.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(
            self.settings["model"], options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._tokens_per_run = TOKENS_PER_RUN * threads

    def run(self, encodings):
        """The model's first output for a batch, and the attention mask."""
        feed = pad(encodings)
        given = {name: array for name, array in feed.items() if name in self._inputs}
        return self._session.run(None, given)[0], feed["attention_mask"]

    def compute(self, encodings, width, read):
        """A float32 array with a row of `width` numbers for each encoding; those of like length are computed together.

        Args:
            encodings: the rows.
            width: numbers a row.
            read: takes what `run` gives for some rows; the numbers of these rows.
        """
        values = np.zeros((len(encodings), width), dtype=np.float32)
        for batch in batches([len(encoding) for encoding in encodings], self._tokens_per_run):
            values[batch] = read(*self.run([encodings[index] for index in batch]))
        return values
