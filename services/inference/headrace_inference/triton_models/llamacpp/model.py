"""A GGUF language model on llama.cpp: continuous batching over slots, streaming, cancellation down to the slot."""

import json
from pathlib import Path

from ..shared.triton_stream import Calls
from .engine import Engine
from .serve import serve


class TritonPythonModel:
    """Triton's entry point."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text("utf-8"))
        self._engine = Engine(settings)
        self._calls = Calls(
            lambda call: serve(self._engine, settings, call), settings["max_in_flight"], self._engine.stats
        )

    def execute(self, requests):
        self._calls.start(requests)

    def finalize(self):
        self._calls.close()
        self._engine.close()
