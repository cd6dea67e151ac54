"""HTTP to an engine over its abstract Unix socket."""

import contextlib
import http.client
import json
import socket
import threading

from .prefixes import Prefixes
from .prompts import Prompts
from .slots import Slots


class EngineClient:
    """Requests to an engine, from the one process of this machine that sends it requests.

    Args:
        address: `{"socket", "key", "vault"}` of the `Engine`: name of its socket, key that it wants, and paths of files
            in its memory.
        settings: the deployment's `settings.json`.

    Attributes:
        slots: who may use which slot.
        prefixes: what is kept besides, or None.
        prompts: those that are being read.
    """

    def __init__(self, address, settings):
        self.address = address
        self.prefixes = None
        if address["vault"]:
            self.prefixes = Prefixes(address["vault"], settings["prompt_cache_mib"] << 20)
        self.slots = Slots(settings["slots"], self.prefixes, settings.get("prefix_caching", True))
        self.prompts = Prompts(settings["batch_tokens"])
        self._cells = settings["slots"] * settings["context_tokens"]
        self._template = None

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
        busy = [slot for slot in self.read("/slots") if slot["is_processing"]]
        used = sum(slot.get("n_prompt_tokens", 0) for slot in busy)
        waiting = self.slots.counts()[1] + self.prompts.waiting()
        return {"running": len(busy), "waiting": waiting, "kv_cache_used": used / self._cells}

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
