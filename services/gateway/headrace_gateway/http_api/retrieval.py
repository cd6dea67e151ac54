"""What the routes share that are passed on to retrieval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.values import shown
from headrace_gateway.ports import Services
from headrace_protos.retrieval.v1 import messages_pb2 as pb

ONE = "/v1/collections/{collection}"


class RetrievalApi:
    """A part of the public API that retrieval answers.

    Args:
        services: where requests go.
        max_body_bytes: reads how large a body may be; 0 where the part has its own limits.
    """

    def __init__(self, services: Services, max_body_bytes: Callable[[], int] = lambda: 0) -> None:
        self._services = services
        self._max_body_bytes = max_body_bytes

    async def _call(self, visit: Visit, method: str, request: Any, timeout_s: float = 30.0) -> Any:
        return await self._services.call(visit.ctx, "retrieval", method, request, timeout_s=timeout_s)


def listed_job(job: pb.Job) -> dict[str, Any]:
    """A job where it is one of several, or a part of something else: without its errors."""
    return {key: value for key, value in shown(job).items() if key != "errors"}
