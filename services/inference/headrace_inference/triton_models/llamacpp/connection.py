"""HTTP to an engine over its abstract Unix socket."""

import contextlib
import http.client
import json
import socket
import threading

from . import speculation
from .prefixes import Prefixes
from .prompts import Prompts
from .slots import Slots


class EngineClient:
    """Requests to an engine, from the one process of this machine that sends it requests.

    Args:
        address: `{"socket", "key", "vault"}` of the `Engine`: name of its socket, key that it wants, and paths of files
            in its memory; and `plain`, the same of the plain instance, where there is one.
        settings: the deployment's `settings.json`.

    Attributes:
        slots: who may use which slot.
        prefixes: what is kept besides, or None.
        prompts: those that are being read.
        plain: the instance that does not draft, beside one that does; else None.
    """

    def __init__(self, address, settings):
        self.address = address
        self.prefixes = None
        if address["vault"]:
            self.prefixes = Prefixes(address["vault"], settings["prompt_cache_mib"] << 20)
        self.slots = Slots(settings["slots"], self.prefixes, settings.get("prefix_caching", True))
        self.prompts = Prompts(speculation.batch_tokens(settings))
        self._cells = settings["slots"] * settings["context_tokens"]
        self._template = None
        plain = address.get("plain")
        self.plain = EngineClient(plain, speculation.without(settings)) if plain else None

    def of(self, document):
        """The instance that a request is for.

        llama.cpp drafts for all requests or for none, and reports no log probabilities of drafted tokens.
        """
        told = document.get("top_logprobs") is not None or document.get("want_stats")
        return self.plain if self.plain is not None and (told or document.get("max_draft_tokens") == 0) else self

    def connect(self):
        """A connection for one request."""
        return Connection(self.address["socket"], self.address["key"])

    def read(self, path):
        """The JSON document at `path`. Raises OSError where the engine is gone."""
        connection = self.connect()
        try:
            return connection.get(path)
        finally:
            connection.close()

    def stats(self):
        """`{"running", "waiting", "kv_cache_used"}`: answers in work, requests in the queue, share of the cache in use.

        Raises:
            OSError: the engine is gone.
        """
        instances = [self] if self.plain is None else [self, self.plain]
        running = waiting = used = 0
        for instance in instances:
            busy = [slot for slot in instance.read("/slots") if slot["is_processing"]]
            running += len(busy)
            used += sum(slot.get("n_prompt_tokens", 0) for slot in busy)
            waiting += instance.slots.counts()[1] + instance.prompts.waiting()
        cells = self._cells * len(instances)
        return {"running": running, "waiting": waiting, "kv_cache_used": used / cells}

    def template(self):
        """The model's chat template.

        Raises:
            OSError: the engine is gone.
        """
        if self._template is None:
            self._template = self.read("/props").get("chat_template") or ""
        return self._template


class Connection(http.client.HTTPConnection):
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

    def get(self, path):
        """The JSON document at `path`."""
        self.request("GET", path, headers={"Authorization": "Bearer " + self._api_key})
        return json.loads(self.getresponse().read())

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
