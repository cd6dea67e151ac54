"""One channel to a Triton server."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Coroutine, Iterable

import grpc
from grpc import aio
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as rpc

from headrace_inference.adapters.triton.stream import ModelStream, NotSent
from headrace_inference.adapters.triton.wire import cancel_document, stream_request, unpack_one
from headrace_inference.ports import EngineState
from headrace_kit.errors import HeadraceError, NotReady, Upstream
from headrace_kit.rpc.client import MAX_MESSAGE_BYTES

_log = logging.getLogger(__name__)
_INDEX_FRESH_S = 0.5
_PROBE_S = 2.0
SILENCE_S = 15.0
"""Our models send a sign of life every 2 s; one that is silent for this long has died."""

_HEAL_EVERY_S = 20.0
_NOT_HERE = "Request for unknown model"
"""How Triton refuses what it has not loaded, or not any more: a pod on its way out unloads before it ends."""
_NOT_IN_REPOSITORY = "Triton's model repository does not have it"
_ELSEWHERE_S = (0.05, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8, 0.8)
"""Waits before another of the pods behind the address is asked: one of two is on its way out for as long as it drains,
and among many requests that take turns each try may meet it again."""
_WIND_DOWN_S = 5.0
_GATHER = 8
_BEST = ("unloaded", "failed", "loading", "ready")
_STATES = {"READY": "ready", "LOADING": "loading", "UNLOADING": "unloaded", "UNAVAILABLE": "unloaded"}


class ModelError(Exception):
    """A model of others answered with an error, in its own words; or Triton did in its place."""


_ROUND_ROBIN = '{"loadBalancingConfig": [{"round_robin": {}}]}'


class TritonClient:
    """Calls to one Triton; it reconnects by itself within a second after Triton is back.

    Our models report their own failures in the stream. A failure of Triton on a model that it calls ready, or silence,
    means that the model's process has died, which Triton does not mend: the model is then loaded afresh.

    Args:
        address: host:port of its gRPC endpoint.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel: aio.Channel | None = None
        self._made_stub: rpc.GRPCInferenceServiceStub | None = None
        self._index: dict[str, EngineState] = {}
        self._indexed = -_INDEX_FRESH_S
        self._lock = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._healing: set[str] = set()
        self._healed: dict[str, float] = {}

    async def stream(self, model: str, document: bytes) -> AsyncGenerator[bytes, None]:
        """Send a request document; elements of the first output, one a response, until the final response.

        Closing early, also by cancelling the task in it, sends the model a cancel.

        Raises:
            NotReady: the model is not loaded, or Triton cannot be reached.
            Upstream: it failed, or the connection broke, after the call began.
        """
        stream = self._open(model, document)
        begun = False
        waits = iter(_ELSEWHERE_S)
        try:
            while True:
                response = await stream.next(SILENCE_S)
                if response is None:
                    raise Upstream("Triton closed the stream before its end", code="engine_failed")
                if response.error_message:
                    wait = None if begun or not _not_here(response.error_message) else next(waits, None)
                    if wait is None:
                        raise await self._failed(model, response.error_message)
                    self._in_background(stream.leave())
                    await asyncio.sleep(wait)
                    stream = self._open(model, document)
                    continue
                begun = True
                inferred = response.infer_response
                for contents in inferred.raw_output_contents:
                    yield unpack_one(contents)
                if inferred.parameters["triton_final_response"].bool_param:
                    return
        except aio.AioRpcError as error:
            raise self._gone(error, begun) from error
        except TimeoutError as error:
            self._heal(model)
            raise Upstream("the engine fell silent in the middle of the answer", code="engine_failed") from error
        except NotSent as error:
            raise self._away() from error
        finally:
            self._in_background(stream.leave())

    def _open(self, model: str, document: bytes) -> ModelStream:
        request_id = secrets.token_hex(8)
        return ModelStream(
            self._stub().ModelStreamInfer(),
            stream_request(model, document, request_id),
            stream_request(model, cancel_document(request_id), request_id + "-cancel"),
            _WIND_DOWN_S,
        )

    async def responses(
        self, request: pb.ModelInferRequest, cancel: pb.ModelInferRequest | None, *, silence_s: float, gather_s: float
    ) -> AsyncGenerator[list[pb.ModelInferResponse], None]:
        """Call a decoupled model that is not ours; its responses as they come, until the final one.

        The first response comes by itself, later ones with those of the next `gather_s` seconds, at most 8. Closing
        early sends `cancel`, see `ModelStream`.

        Args:
            request: asks for the final response, see `wire.stream_request`.
            cancel: what makes the model stop, on the same stream.
            silence_s: longest wait for a response.
            gather_s: longest time that a response is held back.

        Raises:
            ModelError: the model's or Triton's error; `failed` tells what it means.
            NotReady: Triton cannot be reached.
            Upstream: the connection broke, or the model fell silent.
        """
        loop = asyncio.get_running_loop()
        stream = ModelStream(self._stub().ModelStreamInfer(), request, cancel, _WIND_DOWN_S)
        begun = final = False
        failure = ""
        waits = iter(_ELSEWHERE_S)
        try:
            while not final:
                gathered: list[pb.ModelInferResponse] = []
                until = loop.time() + silence_s
                while not final and len(gathered) < _GATHER:
                    try:
                        async with asyncio.timeout_at(until):
                            response = await stream.next()
                    except TimeoutError:
                        break
                    if response is None:
                        raise Upstream("Triton closed the stream before its end", code="engine_failed")
                    if response.error_message:
                        failure = response.error_message
                        break
                    gathered.append(response.infer_response)
                    final = response.infer_response.parameters["triton_final_response"].bool_param
                    until = loop.time() if not begun else min(until, loop.time() + gather_s)
                    begun = True
                if gathered:
                    yield gathered
                if failure and not begun and _not_here(failure) and (wait := next(waits, None)) is not None:
                    failure = ""
                    self._in_background(stream.leave())
                    await asyncio.sleep(wait)
                    stream = ModelStream(self._stub().ModelStreamInfer(), request, cancel, _WIND_DOWN_S)
                    continue
                if failure:
                    raise ModelError(failure)
                if not gathered:
                    raise Upstream(f"the engine fell silent for {silence_s:g} s", code="engine_failed")
        except aio.AioRpcError as error:
            raise self._gone(error, begun) from error
        except NotSent as error:
            raise self._away() from error
        finally:
            self._in_background(stream.leave())

    async def failed(self, model: str, message: str) -> Upstream | NotReady:
        """What a failure means that is not the model's own word; a model whose process has died is loaded afresh."""
        return await self._failed(model, message)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def infer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        """One unary call.

        Raises:
            aio.AioRpcError: the model refused its input (INVALID_ARGUMENT); callers know what that means.
            NotReady, Upstream: as `stream`.
        """
        waits = iter(_ELSEWHERE_S)
        while True:
            call = self._stub().ModelInfer(request)
            try:
                return await call
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                wait = next(waits, None) if _not_here(error.details() or "") else None
                if wait is None:
                    if error.code() is grpc.StatusCode.UNAVAILABLE:
                        raise self._gone(error, False) from error
                    raise await self._failed(request.model_name, error.details() or "") from error
            finally:
                call.cancel()
            await asyncio.sleep(wait)

    async def state(self, model: str) -> EngineState:
        """What Triton says of a model; `failed` while Triton is away."""
        async with self._lock:
            if time.monotonic() - self._indexed >= _INDEX_FRESH_S:
                try:
                    answer = await self._stub().RepositoryIndex(pb.RepositoryIndexRequest(), timeout=_PROBE_S)
                except aio.AioRpcError:
                    return EngineState("failed", f"Triton does not answer at {self.address}")
                self._index = _states(answer.models)
                self._indexed = time.monotonic()
        return self._index.get(model, EngineState("unloaded", _NOT_IN_REPOSITORY))

    async def model_config(self, model: str) -> model_config_pb2.ModelConfig:
        """The config of a loaded model. Raises NotReady when it is not loaded, or Triton is away."""
        try:
            answer = await self._stub().ModelConfig(pb.ModelConfigRequest(name=model), timeout=_PROBE_S)
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise self._away() from error
            raise NotReady(f"Triton has no model {model!r}: {error.details()}", code="engine_not_ready") from error
        return answer.config

    async def load(self, model: str) -> None:
        """Load a model.

        Raises:
            NotReady: Triton's repository does not have it. Where a container beside Triton renders the repository, as
                on Kubernetes, a new config may reach it a minute or two later than this service.
            Upstream: with Triton's reason.
        """
        try:
            call = self._stub().RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=model))
            await self._control(call, model)
        except Upstream as error:
            if error.code == "engine_failed" and (await self.state(model)).detail == _NOT_IN_REPOSITORY:
                raise NotReady(
                    f"Triton's model repository does not have {model!r} yet", code="engine_lacks_model", retry_after_s=5
                ) from error
            raise

    async def unload(self, model: str) -> None:
        """Unload a model and wait until it is gone. Raises Upstream with Triton's reason."""
        await self._control(
            self._stub().RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=model)), model
        )

    async def close(self) -> None:
        """Let what ends end, and close the channel."""
        if self._background:
            _, late = await asyncio.wait(self._background, timeout=_WIND_DOWN_S)
            for task in late:
                task.cancel()
        if self._channel is not None:
            await self._channel.close()
            self._channel = self._made_stub = None

    def _stub(self) -> rpc.GRPCInferenceServiceStub:
        if self._made_stub is None:
            self._channel = aio.insecure_channel(
                self.address,
                options=[
                    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                    # Where the name has several addresses, they are pods that run the same models.
                    ("grpc.service_config", _ROUND_ROBIN),
                    ("grpc.dns_min_time_between_resolutions_ms", 1000),
                    ("grpc.initial_reconnect_backoff_ms", 100),
                    # How long a connection may take to be made: on a busy machine far more than 100 ms.
                    ("grpc.min_reconnect_backoff_ms", 2000),
                    ("grpc.max_reconnect_backoff_ms", 1000),
                ],
            )
            self._made_stub = rpc.GRPCInferenceServiceStub(self._channel)
        return self._made_stub

    async def _control(self, call: aio.UnaryUnaryCall, model: str) -> None:
        try:
            await call
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise self._away() from error
            raise Upstream(
                f"Triton could not do that with {model!r}: {error.details()}", code="engine_failed"
            ) from error
        finally:
            self._indexed = -_INDEX_FRESH_S
            call.cancel()

    async def _failed(self, model: str, message: str) -> Upstream | NotReady:
        """Triton names no code in a stream's errors: its state tells a missing model from a failed one."""
        state = await self.state(model)
        if _not_here(message) and state.state == "ready":  # by another of the pods behind the address
            return NotReady(f"deployment {model!r} was just unloaded where it was asked for", retry_after_s=1)
        if state.state != "ready" or model in self._healing:
            return NotReady(f"deployment {model!r} is {state.state}: {state.detail}".rstrip(": "), retry_after_s=1)
        self._heal(model)
        return Upstream(f"the engine of {model!r} failed: {message}", code="engine_failed")

    def _heal(self, model: str) -> None:
        """Load a model afresh in the background; not again within `_HEAL_EVERY_S`."""
        now = time.monotonic()
        if model in self._healing or now - self._healed.get(model, -_HEAL_EVERY_S) < _HEAL_EVERY_S:
            return
        _log.warning("the process of model %s has died: loading it afresh", model)
        self._healed[model] = now
        self._healing.add(model)
        self._in_background(self._reload(model))

    async def _reload(self, model: str) -> None:
        try:
            await self.unload(model)
            await self.load(model)
        except HeadraceError as error:
            _log.error("model %s could not be loaded afresh: %s", model, error.message)
        finally:
            self._healing.discard(model)

    def _gone(self, error: aio.AioRpcError, begun: bool) -> Upstream | NotReady:
        self._indexed = -_INDEX_FRESH_S
        if begun or error.code() is not grpc.StatusCode.UNAVAILABLE:
            return Upstream("the engine went away in the middle of the answer", code="engine_failed")
        return self._away()

    def _away(self) -> NotReady:
        return NotReady(
            "the inference engine cannot be reached; it is being restarted", code="engine_away", retry_after_s=2
        )


def _not_here(message: str) -> bool:
    return _NOT_HERE in message


def _states(entries: Iterable[pb.RepositoryIndexResponse.ModelIndex]) -> dict[str, EngineState]:
    """Each model's state: that of its best version, the newer of two. An old version that serves while a new one could
    not be loaded is `ready`; one that was unloaded because a new one took over says nothing."""
    found: dict[str, tuple[tuple[int, int], EngineState]] = {}
    for entry in entries:
        state = _state(entry)
        rank = (_BEST.index(state.state), int(entry.version or 0))
        if entry.name not in found or rank > found[entry.name][0]:
            found[entry.name] = (rank, state)
    return {name: state for name, (_, state) in found.items()}


def _state(entry: pb.RepositoryIndexResponse.ModelIndex) -> EngineState:
    if entry.state == "UNAVAILABLE" and entry.reason not in ("", "unloaded"):
        return EngineState("failed", entry.reason)
    return EngineState(_STATES.get(entry.state, "unloaded"), entry.reason)
