"""llama.cpp's server inside this process, reached over an abstract Unix socket with a key of its own.

Its in-process calls cannot be cancelled while a prompt is read or queued; a request over a socket ends when the socket
does. An abstract socket leaves no file and opens no port.
"""

import os
import secrets

import xllamacpp

from . import load_log, lora, prefixes, speculation, weights
from .connection import EngineClient

_MORE_CONNECTIONS = 4
"""Beside one for each answer in work: for looks at the slots, and for moving what is in them."""


def make_params(settings, socket_name, api_key):
    """llama.cpp's parameters for a deployment's `settings.json`."""
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.hostnames = [socket_name]
    params.api_keys = [api_key]
    params.n_threads_http = settings["slots"] + _MORE_CONNECTIONS
    params.endpoint_slots = True
    params.slot_save_path = prefixes.FOLDER
    params.ui = False
    params.verbosity = 1
    params.n_parallel = settings["slots"]
    # A cache for each slot: in a common one attention passes over the cells of all slots, idle ones too.
    params.kv_unified = False
    params.n_ctx = settings["slots"] * settings["context_tokens"]
    params.kv_unified_per_slot = settings["context_tokens"]
    # A prompt is read in pieces of this size; between two of them others decode and a cancel is seen.
    params.n_batch = params.n_ubatch = speculation.batch_tokens(settings)
    # Its own store of prefixes knows no tenants; `Slots` and `Prefixes` do what it does.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    kind = settings.get("kv_dtype", "auto")
    if kind != "auto":
        params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + kind.upper())
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    lora.load(params, settings)
    speculation.configure(params, settings)
    return params


class Engine(EngineClient):
    """One loaded model.

    Args:
        settings: the deployment's `settings.json`.

    Raises:
        RuntimeError: the weights cannot be loaded.
    """

    def __init__(self, settings):
        # On a fatal error llama.cpp would start a debugger and keep the process for a minute.
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")
        self._servers = []
        self._vault = []
        try:
            with weights.prepared(settings) as path, load_log.recorded() as log:
                address = self._start(settings, path, log)
                if settings.get("speculation"):
                    address["plain"] = self._start(speculation.without(settings), path, log)
        except RuntimeError:
            self.close()
            raise
        super().__init__(address, settings)

    def close(self):
        """Stop the engine and free its memory."""
        self._servers.clear()
        prefixes.forget(self._vault)

    def _start(self, settings, path, log):
        keeps = settings.get("prefix_caching", True) and settings["prompt_cache_mib"]
        address = {
            "socket": "@headrace-%d-%s.sock" % (os.getpid(), secrets.token_hex(8)),
            "key": secrets.token_hex(32),
            "vault": prefixes.vault() if keeps else [],
        }
        self._vault += address["vault"]
        params = make_params(settings, address["socket"], address["key"])
        params.model.path = path
        try:
            self._servers.append(xllamacpp.Server(params))
        except RuntimeError as error:
            reason = load_log.told(log) or error
            raise RuntimeError("llama.cpp could not load %s: %s" % (settings["model"], reason)) from error
        # Its server hangs when it is stopped before it listens: once it has answered it does.
        speculates = EngineClient(address, settings).read("/slots")[0]["speculative"]
        if settings.get("speculation") and not speculates:
            reason = load_log.told(log) or "llama.cpp does not say why"
            draft = settings["speculation"]["draft"] or settings["speculation"]["method"]
            raise RuntimeError("%s cannot draft for %s: %s" % (draft, path, reason))
        return address
