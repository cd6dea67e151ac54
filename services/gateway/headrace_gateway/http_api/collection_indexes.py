"""`/v1/collections/{c}/indexes` and `/reindex`: how a collection is cut and embedded, and changing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import decode, query
from headrace_gateway.http_api.retrieval import ONE, RetrievalApi, listed_job
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.values import shown
from headrace_protos.retrieval.v1 import indexes_pb2 as pb


class Reindex(Struct, forbid_unknown_fields=True):
    """`POST /v1/collections/{c}/reindex`: how the new index version is; what is left out stays as it is.

    `again` builds it although it is as the active one.
    """

    embedding: Annotated[str, Meta(min_length=1, max_length=63)] | None = None
    max_tokens: Annotated[int, Meta(ge=16, le=2048)] | None = None
    overlap_tokens: Annotated[int, Meta(ge=0, le=512)] | None = None
    again: bool = False


_reindex = msgspec.json.Decoder(Reindex)


class CollectionIndexesApi(RetrievalApi):
    """Index versions, passed on to retrieval."""

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            Route("GET", f"{ONE}/indexes", self.list_indexes),
            Route("POST", f"{ONE}/reindex", self.reindex, body=Reindex),
            Route("DELETE", f"{ONE}/reindex", self.cancel),
        ]

    async def list_indexes(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """The active index version, and the one that is being built with how far it is."""
        query(request.query, frozenset())
        sent = pb.ListIndexesRequest(collection=parameters["collection"])
        found = await self._call(visit, "ListIndexes", sent)
        return json_response({"object": "list", "data": [_version(one) for one in found.indexes]}, visit.ctx)

    async def reindex(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Build another index version beside the active one, which it replaces when it has every document."""
        body = decode(_reindex, await request.body(self._max_body_bytes()))
        sent = pb.ReindexRequest(
            collection=parameters["collection"],
            embedding=body.embedding or "",
            max_tokens=body.max_tokens or 0,
            overlap_tokens=body.overlap_tokens,
            again=body.again,
        )
        job = await self._call(visit, "Reindex", sent)
        return json_response(listed_job(job), visit.ctx, 202)

    async def cancel(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Give up the index version that is being built."""
        query(request.query, frozenset())
        name = parameters["collection"]
        await self._call(visit, "CancelReindex", pb.CancelReindexRequest(collection=name))
        return json_response({"name": name, "cancelled": True}, visit.ctx)


def _version(version: pb.IndexVersion) -> dict[str, Any]:
    made = shown(version)
    made["job"] = listed_job(version.job) if version.HasField("job") else None
    return made
