"""The asynchronous client over HTTP."""

from __future__ import annotations

from types import TracebackType

from headrace._http import HttpTransport
from headrace.calls.admin import AdminCalls
from headrace.calls.chat import ChatCalls
from headrace.calls.collection_jobs import CollectionJobCalls
from headrace.calls.documents import DocumentCalls
from headrace.calls.measures import MeasureCalls
from headrace.calls.memory import MemoryCalls
from headrace.calls.operations import OperationCalls
from headrace.calls.sources import SourceCalls
from headrace.retry import Retry
from headrace.settings import Settings


class AsyncHeadrace(
    ChatCalls, DocumentCalls, CollectionJobCalls, SourceCalls, MemoryCalls, OperationCalls, MeasureCalls, AdminCalls
):
    """A platform over HTTP; use it in one event loop, and as an `async with` block or with `aclose`.

    Args:
        base_url: for example `http://127.0.0.1:7800`. Default: `HEADRACE_URL`, or what `make up` wrote.
        api_key: default: `HEADRACE_API_KEY`, or what `make up` wrote.
        timeout_s: seconds for a call that names none; in a stream, for the wait for each next chunk.
        retry: when calls are repeated; `headrace.retry.NEVER` for not at all.
        tenant: the team that is asked for, in place of the key's own. Needs a key with the scope `admin`.

    Raises:
        NotConfigured: an argument is missing and nothing else names it.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 120.0,
        retry: Retry | None = None,
        tenant: str | None = None,
    ) -> None:
        found = Settings() if base_url and api_key else Settings.find()
        self._http = HttpTransport(
            base_url or found.require_url(),
            api_key or found.require_api_key(),
            timeout_s=timeout_s,
            retry=retry or Retry(),
            tenant=tenant,
        )

    async def __aenter__(self) -> AsyncHeadrace:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.close()
