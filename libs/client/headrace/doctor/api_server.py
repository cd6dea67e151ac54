"""A cluster by the official client: the contexts and logins of `kubectl` hold here too."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote

from headrace.doctor.cluster import Object, Refused

_TIMEOUT_S = 15


class ApiServer:
    """The API server of a context.

    Args:
        namespace: None for the context's own.
        context: of the kubeconfig; None for the current one.

    Raises:
        Refused: there is no kubeconfig, or no such context in it.
        ModuleNotFoundError: `kubernetes` is not installed.
    """

    def __init__(self, namespace: str | None = None, context: str | None = None) -> None:
        from kubernetes import client, config, dynamic
        from kubernetes.config.config_exception import ConfigException

        settings = client.Configuration()
        # A failed attempt is told at once: whoever runs this waits for it.
        settings.retries = False
        where = os.environ.get("KUBECONFIG")  # the library reads it when it is imported
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                where, context=context, client_configuration=settings
            )
            contexts, current = config.list_kube_config_contexts(where)  # type: ignore[no-untyped-call]
        except ConfigException as error:
            raise Refused(str(error)) from error
        chosen = next((one for one in contexts if one["name"] == context), current)
        self.namespace = namespace or chosen["context"].get("namespace") or "default"
        # It asks for everything that the server knows when it begins; nothing of that is needed here.
        self._client = dynamic.DynamicClient(client.ApiClient(settings), discoverer=lambda *_: None)  # type: ignore[no-untyped-call]
        self._date: str | None = None

    def version(self) -> str:
        """`gitVersion`."""
        return str(self._get("/version")["gitVersion"])

    def date(self) -> str | None:
        """The `Date` header of its last answer."""
        return self._date

    def kinds(self, api_version: str) -> frozenset[str]:
        """Kinds of an API."""
        try:
            found = self._get(f"/{'apis' if '/' in api_version else 'api'}/{api_version}")
        except _Absent:
            return frozenset()
        return frozenset(one["kind"] for one in found["resources"])

    def objects(self, resource: str, selector: str = "", *, everywhere: bool = False) -> list[Object]:
        """Objects of the namespace, or of all."""
        group, slash, plural = resource.rpartition("/")
        place = "" if everywhere else f"/namespaces/{quote(self.namespace)}"
        path = f"/{f'apis/{group}' if slash else 'api/v1'}{place}/{plural}"
        return list(self._get(path, **({"label_selector": selector} if selector else {}))["items"])

    def _get(self, path: str, **query: Any) -> Any:
        from kubernetes.dynamic.exceptions import DynamicApiError
        from urllib3.exceptions import HTTPError

        try:
            answer = self._client.request("get", path, serialize=False, _request_timeout=_TIMEOUT_S, **query)
        except DynamicApiError as error:
            kind = _Absent if error.status == 404 else Refused
            raise kind(f"{path}: {error.status} {_message(error.body) or error.reason}") from error
        except (HTTPError, OSError) as error:
            raise Refused(f"the API server is not reached: {error}") from error
        self._date = answer.getheader("Date")
        return json.loads(answer.data)


class _Absent(Refused):
    """It has no such path."""


def _message(body: Any) -> str:
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return ""
