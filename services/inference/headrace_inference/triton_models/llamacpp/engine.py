"""llama.cpp's server inside this process, reached over an abstract Unix socket with a key of its own.

Its in-process calls cannot be cancelled while a prompt is read or queued; a request over a socket ends when the socket
does. An abstract socket leaves no file and opens no port.
"""

import os
import secrets

import xllamacpp

from . import load_log, lora
from .connection import EngineClient

NGRAM = 6
"""Tokens that must recur before what followed them is proposed again: fewer propose much that is refused."""


def make_params(settings, socket_name, api_key):
    """llama.cpp's parameters for a deployment's `settings.json`."""
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.hostnames = [socket_name]
    params.api_keys = [api_key]
    params.n_threads_http = settings["max_in_flight"] + 2
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.ui = False
    params.verbosity = 1
    params.n_parallel = settings["slots"]
    params.kv_unified = True
    params.n_ctx = settings["slots"] * settings["context_tokens"]
    params.kv_unified_per_slot = settings["context_tokens"]
    # A prompt is read in pieces of this size; between two of them others decode and a cancel is seen.
    params.n_batch = params.n_ubatch = settings["batch_tokens"]
    params.cache_ram_mib = settings["prompt_cache_mib"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    lora.load(params, settings)
    speculation = settings.get("speculation")
    if speculation:
        # The map is the request's own: nothing of one tenant's text is proposed to another.
        params.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_MAP_K]
        params.speculative.ngram_map_k.size_n = NGRAM
        params.speculative.ngram_map_k.size_m = speculation["max_draft_tokens"]
    return params


class Engine(EngineClient):
    """One loaded model.

    Args:
        settings: the deployment's `settings.json`.

    Raises:
        RuntimeError: the weights cannot be loaded.
    """

    def __init__(self, settings):
        super().__init__("@headrace-%d-%s.sock" % (os.getpid(), secrets.token_hex(8)), secrets.token_hex(32))
        params = make_params(settings, self.socket_name, self.api_key)
        with load_log.recorded() as log:
            try:
                self._server = xllamacpp.Server(params)
            except RuntimeError as error:
                reason = load_log.reason(log()) or error
                raise RuntimeError("llama.cpp could not load %s: %s" % (settings["model"], reason)) from error

    def close(self):
        """Stop the engine and free its memory."""
        self._server = None
