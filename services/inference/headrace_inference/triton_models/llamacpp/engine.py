"""llama.cpp's server inside this process, reached over an abstract Unix socket with a key of its own.

Its in-process calls cannot be cancelled while a prompt is read or queued; a request over a socket ends when the socket
does. An abstract socket leaves no file and opens no port.
"""

import contextlib
import http.client
import json
import os
import secrets
import socket
import threading

import xllamacpp

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
    speculation = settings.get("speculation")
    if speculation:
        # The map is the request's own: nothing of one tenant's text is proposed to another.
        params.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_MAP_K]
        params.speculative.ngram_map_k.size_n = NGRAM
        params.speculative.ngram_map_k.size_m = speculation["max_draft_tokens"]
    return params


class Engine:
    """One loaded model.

    Args:
        settings: the deployment's `settings.json`.

    Raises:
        RuntimeError: the weights cannot be loaded.
    """

    def __init__(self, settings):
        self._socket_name = "@headrace-%d-%s.sock" % (os.getpid(), secrets.token_hex(8))
        self._api_key = secrets.token_hex(32)
        try:
            self._server = xllamacpp.Server(make_params(settings, self._socket_name, self._api_key))
        except RuntimeError as error:
            raise RuntimeError("llama.cpp could not load %s: %s" % (settings["model"], error)) from error

    def connect(self):
        """A connection for one request."""
        return _Connection(self._socket_name, self._api_key)

    def close(self):
        """Stop the engine and free its memory."""
        self._server = None


class _Connection(http.client.HTTPConnection):
    """HTTP over the engine's socket; `abort` may be called from another thread."""

    def __init__(self, socket_name, api_key):
        super().__init__("localhost")
        self._address = "\0" + socket_name[1:]
        self._api_key = api_key
        self._raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lock = threading.Lock()
        self._aborted = False

    def connect(self):
        with self._lock:
            if self._aborted:
                raise ConnectionAbortedError("the request was cancelled")
            self._raw.connect(self._address)
        # http.client closes its own copy when it hands the socket to the response.
        self.sock = self._raw.dup()

    def post(self, path, body):
        """The response to a JSON document."""
        headers = {"Content-Type": "application/json", "Authorization": "Bearer " + self._api_key}
        self.request("POST", path, json.dumps(body).encode(), headers)
        return self.getresponse()

    def abort(self):
        """End the request: the engine frees its slot after the batch it is computing."""
        with self._lock:
            self._aborted = True
            with contextlib.suppress(OSError):  # not connected yet, or over already
                self._raw.shutdown(socket.SHUT_RDWR)

    def close(self):
        super().close()
        self._raw.close()
