"""`/v1/collections/{c}/jobs` and `/dead-letters`: what became of documents that were sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import decode, query, whole_number
from headrace_gateway.http_api.retrieval import ONE, RetrievalApi, listed_job
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.values import shown
from headrace_protos.retrieval.v1 import jobs_pb2 as jobs_pb
from headrace_protos.retrieval.v1 import messages_pb2 as pb


class DeadLetters(Struct, forbid_unknown_fields=True):
    """Which dead letters: their ids, or all of the collection."""

    ids: Annotated[list[str], Meta(max_length=1000)] = []
    all: bool = False


_PAGE = frozenset({"limit", "after"})
_JOBS = _PAGE | {"state"}
_dead_letters = msgspec.json.Decoder(DeadLetters)


class CollectionJobsApi(RetrievalApi):
    """Jobs and dead letters, passed on to retrieval."""

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            Route("GET", f"{ONE}/jobs", self.list_jobs, query=_JOBS),
            Route("GET", f"{ONE}/jobs/{{job}}", self.get_job),
            Route("GET", f"{ONE}/dead-letters", self.list_dead_letters, query=_PAGE),
            Route("POST", f"{ONE}/dead-letters/retry", self.retry_dead_letters, body=DeadLetters),
            Route("POST", f"{ONE}/dead-letters/drop", self.drop_dead_letters, body=DeadLetters),
        ]

    async def list_jobs(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """How far each ingestion is, newest first; `?state=queued|running|done|failed`, `?limit=`, `?after=`."""
        asked = query(request.query, _JOBS)
        sent = jobs_pb.ListJobsRequest(
            collection=parameters["collection"],
            state=asked.get("state", ""),
            limit=whole_number(asked, "limit", 100, 1, 1000),
            after=asked.get("after", ""),
        )
        found = await self._call(visit, "ListJobs", sent)
        return json_response({"object": "list", "data": [listed_job(job) for job in found.jobs]}, visit.ctx)

    async def get_job(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """How far an ingestion is, and what went wrong."""
        job = await self._call(visit, "GetJob", pb.GetJobRequest(job=parameters["job"]))
        return json_response(shown(job), visit.ctx)

    async def list_dead_letters(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Documents that could not be made searchable, and why, oldest first; `?limit=` from behind `?after=`."""
        asked = query(request.query, _PAGE)
        sent = jobs_pb.ListDeadLettersRequest(
            collection=parameters["collection"],
            limit=whole_number(asked, "limit", 100, 1, 1000),
            after=asked.get("after", ""),
        )
        found = await self._call(visit, "ListDeadLetters", sent)
        return json_response({"object": "list", "data": [shown(letter) for letter in found.dead_letters]}, visit.ctx)

    async def retry_dead_letters(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Put them back into the queue."""
        body = decode(_dead_letters, await request.body(self._max_body_bytes()))
        sent = jobs_pb.RetryDeadLettersRequest(collection=parameters["collection"], ids=body.ids, all=body.all)
        done = await self._call(visit, "RetryDeadLetters", sent)
        return json_response({"retried": done.retried}, visit.ctx)

    async def drop_dead_letters(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Take their texts back: what was searchable before stays, a document that never was is removed."""
        body = decode(_dead_letters, await request.body(self._max_body_bytes()))
        sent = jobs_pb.DropDeadLettersRequest(collection=parameters["collection"], ids=body.ids, all=body.all)
        done = await self._call(visit, "DropDeadLetters", sent)
        return json_response({"dropped": done.dropped}, visit.ctx)
