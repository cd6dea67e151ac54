"""The file of a router: JSON with its arrays as base64 of little-endian numbers. Nothing in it is ever executed.

`metadata` says what it was made from and how good it was; the rest is what serving needs. A reader refuses a file that
is too large, of another format, or whose parts do not fit together, so that nothing of it can fail later.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from headrace_router.plan import Plan, describe
from headrace_router.predictors import Array, Calibration, Each, Linear, Neighbours, Predictor, Trees
from headrace_router.prompt import WIDTH
from headrace_router.router import Head, Router
from headrace_router.state import ASKED, UNASKED

FORMAT = "headrace-router/1"
MOST_BYTES = 32 << 20
MOST_DEPLOYMENTS = 8
"""Every set of deployments has values of its own: 256 sets at 8."""
_KINDS = {"float32": "<f4", "float64": "<f8", "int32": "<i4", "bool": "|b1"}


class RouterInvalid(ValueError):
    """The file is no router that can be used; the message says why."""


class _Array(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    shape: list[int]
    data: str


class _Predictor(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    kind: str
    arrays: dict[str, _Array]
    bias: float = 0.0
    number: int = 0
    parts: list[_Predictor] = []


class _Calibration(msgspec.Struct, forbid_unknown_fields=True):
    x: list[float]
    y: list[float]


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    predictor: _Predictor
    calibration: _Calibration


class _Deployment(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    conclusions: dict[str, float]
    calibration: _Calibration


class _Plan(msgspec.Struct, forbid_unknown_fields=True):
    tradeoffs: list[float]
    sets: list[int]
    moves: list[int]
    weights: _Array


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    metadata: dict[str, Any]
    deployments: list[_Deployment]
    dimensions: int
    prior: _Predictor
    asked: _Head
    unasked: _Head
    plan: _Plan


def save(router: Router, path: Path) -> None:
    """Write a router, whole or not at all."""
    data = dumps(router)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def load(path: Path) -> Router:
    """Read a router.

    Raises:
        RouterInvalid: it cannot be used.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    return loads(data)


def dumps(router: Router) -> bytes:
    """A router as JSON."""
    pairs = list(router.plan.weights[0])
    plan = _Plan(
        tradeoffs=router.plan.tradeoffs.tolist(),
        sets=[members for members, _ in pairs],
        moves=[move for _, move in pairs],
        weights=_pack(np.array([[table[pair] for pair in pairs] for table in router.plan.weights]), "float32"),
    )
    file = _File(
        format=FORMAT,
        metadata=dict(router.metadata),
        deployments=[
            _Deployment(name, dict(rates), _calibration(calibration))
            for name, rates, calibration in zip(router.deployments, router.rates, router.calibrations, strict=True)
        ],
        dimensions=router.dimensions,
        prior=_predictor(router.prior),
        asked=_Head(_predictor(router.asked.predictor), _calibration(router.asked.calibration)),
        unasked=_Head(_predictor(router.unasked.predictor), _calibration(router.unasked.calibration)),
        plan=plan,
    )
    return msgspec.json.format(msgspec.json.encode(file), indent=1)


def loads(data: bytes) -> Router:
    """A router from JSON.

    Raises:
        RouterInvalid: it cannot be used.
    """
    if len(data) > MOST_BYTES:
        raise RouterInvalid(f"the file has more than {MOST_BYTES >> 20} MiB")
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RouterInvalid(f"not a router file: {error}") from error
    if file.format != FORMAT:
        raise RouterInvalid(
            f"the file has the format {file.format[:40]!r}, this version reads {FORMAT!r}: train it again"
        )
    count = len(file.deployments)
    names = [entry.name for entry in file.deployments]
    if not 1 <= count <= MOST_DEPLOYMENTS or len(set(names)) != count:
        raise RouterInvalid(f"it needs 1 to {MOST_DEPLOYMENTS} deployments, each once")
    if not 0 <= file.dimensions <= 8192:
        raise RouterInvalid("dimensions must be 0 to 8192")
    return Router(
        deployments=tuple(names),
        rates=tuple(_rates(entry) for entry in file.deployments),
        dimensions=file.dimensions,
        prior=_read_predictor(file.prior, "prior", WIDTH + file.dimensions, count),
        calibrations=tuple(_read_calibration(entry.calibration, entry.name) for entry in file.deployments),
        asked=_read_head(file.asked, "asked", ASKED),
        unasked=_read_head(file.unasked, "unasked", UNASKED),
        plan=_read_plan(file.plan, count),
        metadata=file.metadata,
    )


def _rates(entry: _Deployment) -> dict[str, float]:
    if len(entry.conclusions) > 64 or not all(0 < rate <= 1 for rate in entry.conclusions.values()):
        raise RouterInvalid(f"the conclusions of {entry.name!r} must be at most 64 shares")
    return entry.conclusions


def _pack(array: Any, kind: str) -> _Array:
    kept = np.ascontiguousarray(array, dtype=_KINDS[kind])
    return _Array(kind, list(kept.shape), base64.b64encode(kept.tobytes()).decode())


def _unpack(packed: _Array, what: str, shape: tuple[int | None, ...]) -> Any:
    kind = _KINDS.get(packed.type)
    try:
        data = base64.b64decode(packed.data, validate=True)
    except binascii.Error as error:
        raise RouterInvalid(f"{what}: not base64") from error
    fits = len(packed.shape) == len(shape) and all(
        got >= 0 and want in (None, got) for got, want in zip(packed.shape, shape, strict=True)
    )
    if kind is None or not fits:
        raise RouterInvalid(
            f"{what}: an array of {packed.type[:20]} {packed.shape[:8]} cannot stand here, expected {shape}"
        )
    size = np.dtype(kind).itemsize
    for extent in packed.shape:
        size *= extent
    if size != len(data):
        raise RouterInvalid(f"{what}: {len(data)} bytes are not an array of {packed.shape}")
    array = np.frombuffer(data, dtype=kind).reshape(packed.shape)
    if array.dtype.kind == "f":
        array = array.astype(float)
        if not np.isfinite(array).all():
            raise RouterInvalid(f"{what}: it holds numbers that are not finite")
    return array.astype(np.int64) if array.dtype.kind == "i" else array


def _calibration(calibration: Calibration) -> _Calibration:
    return _Calibration(calibration.x.tolist(), calibration.y.tolist())


def _read_calibration(read: _Calibration, what: str) -> Calibration:
    x, y = np.array(read.x, dtype=float), np.array(read.y, dtype=float)
    good = len(x) == len(y) > 0 and bool((np.diff(x) >= 0).all() and (np.diff(y) >= 0).all())
    if not good or not ((y >= 0) & (y <= 1)).all():
        raise RouterInvalid(f"{what}: a calibration must rise from x to y, and y be 0 to 1")
    return Calibration(x, y)


def _predictor(predictor: Predictor) -> _Predictor:
    if isinstance(predictor, Linear):
        return _Predictor(
            "linear", {"weights": _pack(predictor.weights, "float32"), "bias": _pack(predictor.bias, "float32")}
        )
    if isinstance(predictor, Neighbours):
        arrays = {name: _pack(getattr(predictor, name), "float32") for name in ("scale", "rows", "scores")}
        return _Predictor("neighbours", arrays, number=predictor.count)
    if isinstance(predictor, Each):
        return _Predictor("each", {}, parts=[_predictor(part) for part in predictor.parts])
    return _Predictor(
        "trees",
        {
            "feature": _pack(predictor.feature, "int32"),
            # thresholds lie between two values of the training set: rounded, they could fall onto one
            "threshold": _pack(predictor.threshold, "float64"),
            "left": _pack(predictor.left, "int32"),
            "right": _pack(predictor.right, "int32"),
            "missing_left": _pack(predictor.missing_left, "bool"),
            "value": _pack(predictor.value, "float32"),
        },
        bias=predictor.bias,
        number=predictor.depth,
    )


def _read_head(read: _Head, what: str, inputs: int) -> Head:
    return Head(_read_predictor(read.predictor, what, inputs, 1), _read_calibration(read.calibration, what))


def _read_predictor(read: _Predictor, what: str, inputs: int, outputs: int) -> Predictor:
    def array(name: str, *shape: int | None) -> Any:
        if name not in read.arrays:
            raise RouterInvalid(f"{what}: {name} is missing")
        return _unpack(read.arrays[name], f"{what}.{name}", shape)

    if read.kind == "linear":
        return Linear(array("weights", inputs, outputs), array("bias", outputs))
    if read.kind == "neighbours":
        rows = array("rows", None, inputs)
        if not 1 <= read.number <= len(rows):
            raise RouterInvalid(f"{what}: it needs 1 to {len(rows)} neighbours")
        return Neighbours(array("scale", inputs), rows, array("scores", len(rows), outputs), read.number)
    if read.kind == "each" and len(read.parts) == outputs:
        trees = tuple(_read_predictor(part, what, inputs, 1) for part in read.parts)
        if all(isinstance(part, Trees) for part in trees):
            return Each(tuple(part for part in trees if isinstance(part, Trees)))
    if read.kind == "trees" and outputs == 1:
        return _read_trees(read, what, inputs, array)
    raise RouterInvalid(f"{what}: {read.kind[:20]!r} is no kind of predictor that can stand here")


def _read_trees(read: _Predictor, what: str, inputs: int, array: Any) -> Trees:
    feature = array("feature", None, None)
    shape = feature.shape
    left, right = array("left", *shape), array("right", *shape)
    own = np.arange(shape[1])[None, :]
    down = ((left > own) & (right > own)) | ((left == own) & (right == own))
    within = (feature >= 0).all() and (feature < inputs).all() and (left < shape[1]).all() and (right < shape[1]).all()
    if shape[1] < 1 or not within or not down.all() or not 0 <= read.number <= 64:
        raise RouterInvalid(f"{what}: its trees are broken")
    if not np.isfinite(read.bias):
        raise RouterInvalid(f"{what}: its bias is not a number")
    missing = array("missing_left", *shape)
    return Trees(
        feature, array("threshold", *shape), left, right, missing, array("value", *shape), read.bias, read.number
    )


def _read_plan(read: _Plan, count: int) -> Plan:
    tradeoffs: Array = np.array(read.tradeoffs, dtype=float)
    if not 1 <= len(tradeoffs) <= 256 or not (tradeoffs >= 0).all() or not (np.diff(tradeoffs) > 0).all():
        raise RouterInvalid("plan: it needs 1 to 256 trade-offs that rise")
    pairs = list(zip(read.sets, read.moves, strict=False))
    full = 1 << count
    sound = all(0 <= members < full and 0 <= move < count and not members >> move & 1 for members, move in pairs)
    wanted = {(0, move) for move in range(count)}
    if len(read.sets) != len(read.moves) or len(set(pairs)) != len(pairs) or not sound or not wanted <= set(pairs):
        raise RouterInvalid("plan: its moves do not fit its deployments")
    width = describe(np.zeros((1, count)), 0).shape[1]
    weights = _unpack(read.weights, "plan.weights", (len(tradeoffs), len(pairs), width))
    return Plan(tradeoffs, tuple(dict(zip(pairs, table, strict=True)) for table in weights))
