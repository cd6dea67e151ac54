"""Jobs and dead letters over gRPC."""

from __future__ import annotations

from uuid import UUID

from headrace_kit.errors import NotFound
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.retrieval.v1 import jobs_pb2 as jobs_pb
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_retrieval.domain.jobs import Jobs
from headrace_retrieval.domain.model import DeadLetter, Job
from headrace_retrieval.grpc_api.values import CALLERS, caller_of, time_of


class JobCalls:
    """The part of the servicer that is about jobs."""

    rpc_runtime: RpcRuntime
    _jobs: Jobs

    @rpc(callers=CALLERS)
    async def GetJob(self, request: pb.GetJobRequest, call: Call) -> pb.Job:
        """How far an ingestion is."""
        try:
            id = UUID(request.job)
        except ValueError:
            raise NotFound(f"there is no job {request.job!r}", param="job") from None
        return shown_job(await self._jobs.one(caller_of(call), id))

    @rpc(callers=CALLERS)
    async def ListJobs(self, request: jobs_pb.ListJobsRequest, call: Call) -> jobs_pb.ListJobsResponse:
        """A collection's jobs, newest first."""
        found = await self._jobs.page(caller_of(call), request.collection, request.state, request.after, request.limit)
        return jobs_pb.ListJobsResponse(jobs=[shown_job(job) for job in found])

    @rpc(callers=CALLERS)
    async def ListDeadLetters(
        self, request: jobs_pb.ListDeadLettersRequest, call: Call
    ) -> jobs_pb.ListDeadLettersResponse:
        """What was given up, and why."""
        found = await self._jobs.dead(caller_of(call), request.collection, request.after, request.limit)
        return jobs_pb.ListDeadLettersResponse(dead_letters=[_dead(letter) for letter in found])

    @rpc(callers=CALLERS)
    async def RetryDeadLetters(
        self, request: jobs_pb.RetryDeadLettersRequest, call: Call
    ) -> jobs_pb.RetryDeadLettersResponse:
        """Put them back into the queue."""
        done = await self._jobs.retry(caller_of(call), request.collection, request.ids, request.all)
        return jobs_pb.RetryDeadLettersResponse(retried=done)

    @rpc(callers=CALLERS)
    async def DropDeadLetters(
        self, request: jobs_pb.DropDeadLettersRequest, call: Call
    ) -> jobs_pb.DropDeadLettersResponse:
        """Take their texts back."""
        done = await self._jobs.drop(caller_of(call), request.collection, request.ids, request.all)
        return jobs_pb.DropDeadLettersResponse(dropped=done)


def shown_job(job: Job) -> pb.Job:
    """A job for the answer."""
    return pb.Job(
        id=str(job.id),
        collection=job.collection,
        state=job.state,
        documents=job.documents,
        done=job.done,
        errors=[pb.JobError(document_id=document, message=message) for document, message in job.errors],
        kind=job.kind,
        failed=job.failed,
        created_at=time_of(job.created_at),
    )


def _dead(letter: DeadLetter) -> jobs_pb.DeadLetter:
    return jobs_pb.DeadLetter(
        id=str(letter.item),
        job=str(letter.job),
        document_id=letter.document_id,
        reason=letter.reason,
        attempts=letter.attempts,
        failed_at=time_of(letter.failed_at),
        building=letter.building,
    )
