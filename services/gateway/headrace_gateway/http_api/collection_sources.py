"""`/v1/collections/{c}/sources`: where documents come from by themselves."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import Nothing, decode, flag, query, whole_number
from headrace_gateway.http_api.retrieval import ONE, RetrievalApi
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.values import shown
from headrace_protos.retrieval.v1 import sources_pb2 as pb

_WAIT_S = 600.0
_MAX_BODY = 1024
_WAIT = frozenset({"wait"})
_PAGE = frozenset({"limit", "after"})
_nothing = msgspec.json.Decoder(Nothing)


class CollectionSourcesApi(RetrievalApi):
    """Sources, passed on to retrieval."""

    def routes(self) -> list[Route]:
        """The routes of this part."""
        all_ = f"{ONE}/sources"
        return [
            Route("GET", all_, self.list_sources),
            Route("POST", f"{all_}/{{source}}/sync", self.sync_source, query=_WAIT, body=Nothing, body_optional=True),
            Route("GET", f"{all_}/{{source}}/refusals", self.list_refusals, query=_PAGE),
        ]

    async def list_sources(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """The sources that the config names for the collection, and how the last synchronisation of each went."""
        query(request.query, frozenset())
        found = await self._call(visit, "ListSources", pb.ListSourcesRequest(collection=parameters["collection"]))
        return json_response({"object": "list", "data": [shown(source) for source in found.sources]}, visit.ctx)

    async def sync_source(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Synchronise a source; `?wait=true` answers when that is done."""
        wait = flag(query(request.query, _WAIT), "wait")
        if body := await request.body(_MAX_BODY):
            decode(_nothing, body)
        request.follow_client()
        sent = pb.SyncSourceRequest(collection=parameters["collection"], source=parameters["source"], wait=wait)
        state = await self._call(visit, "SyncSource", sent, timeout_s=_WAIT_S)
        return json_response(shown(state), visit.ctx, 200 if wait else 202)

    async def list_refusals(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Entries of a source that are no documents, and why; `?limit=` of them from behind `?after=`."""
        asked = query(request.query, _PAGE)
        sent = pb.ListRefusalsRequest(
            collection=parameters["collection"],
            source=parameters["source"],
            limit=whole_number(asked, "limit", 100, 1, 1000),
            after=asked.get("after", ""),
        )
        found = await self._call(visit, "ListRefusals", sent)
        return json_response({"object": "list", "data": [shown(one) for one in found.refusals]}, visit.ctx)
