"""HTTP to an engine over its abstract Unix socket."""

import contextlib
import http.client
import json
import socket
import threading


class EngineClient:
    """Requests to an engine, from any process of this machine that knows its socket and key."""

    def __init__(self, socket_name, api_key):
        self.socket_name = socket_name
        self.api_key = api_key
        self._template = None

    def connect(self):
        """A connection for one request."""
        return Connection(self.socket_name, self.api_key)

    def template(self):
        """The model's chat template.

        Raises:
            OSError: the engine is gone.
        """
        if self._template is None:
            connection = self.connect()
            try:
                self._template = connection.get("/props").get("chat_template") or ""
            finally:
                connection.close()
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
        return json.loads(self.get_text(path))

    def get_text(self, path):
        """The text at `path`."""
        self.request("GET", path, headers={"Authorization": "Bearer " + self._api_key})
        return self.getresponse().read().decode()

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
