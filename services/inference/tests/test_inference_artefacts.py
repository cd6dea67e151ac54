"""Files and renderings on this machine, made ready for a load and taken back."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from headrace_inference.adapters import artefacts
from headrace_inference.adapters.artefacts import LocalArtefacts
from headrace_inference.catalogue import FileUnavailable
from headrace_kit.config import Environment, parse
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.errors import BadInput


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = folder / "models"
        self.models.mkdir()
        onnx = b"\x08\x07" + b"weights"
        (folder / "model.onnx").write_bytes(onnx)
        (folder / "tokenizer.json").write_bytes(b"{}")
        self.files = [
            {
                "name": name,
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "sources": [{"path": str(folder / name)}],
            }
            for name, content in (("model.onnx", onnx), ("tokenizer.json", b"{}"))
        ]
        self.made = LocalArtefacts(Environment(cache_dir=folder / "cache", offline=True), self.models)

    def snapshot(self, **deployments) -> Snapshot:
        entry = {"format": "onnx", "licence": "MIT", "files": self.files}
        document = {"catalogue": {"weights": entry}, "deployments": deployments}
        return Snapshot(parse(json.dumps(document)), self.folder / "headrace.yaml")

    def versions(self, name: str) -> list[str]:
        return sorted(path.name for path in (self.models / name).iterdir() if path.name.isdecimal())

    def setting(self, name: str, version: str) -> object:
        return json.loads((self.models / name / version / "settings.json").read_text())


@pytest.fixture
def world(tmp_path: Path):
    made = World(tmp_path)
    yield made
    made.made.close()


EMBED = {"engine": "triton-python", "task": "embed", "model": "weights", "dimensions": 2}


async def test_files_are_fetched_and_a_change_becomes_the_next_version(world: World):
    first = await world.made.prepare(world.snapshot(d=EMBED), "d", anew=False)
    assert first.changed
    await first.keep()
    assert Path(world.setting("d", "1")["model"]).read_bytes().endswith(b"weights")
    again = await world.made.prepare(world.snapshot(d=EMBED), "d", anew=False)
    assert not again.changed
    changed = await world.made.prepare(world.snapshot(d=EMBED | {"max_input_tokens": 64}), "d", anew=False)
    assert changed.changed
    assert (world.setting("d", "1") != world.setting("d", "2"), world.versions("d")) == (True, ["1", "2"])
    await changed.keep()
    anew = await world.made.prepare(world.snapshot(d=EMBED | {"max_input_tokens": 64}), "d", anew=True)
    assert anew.changed
    await anew.keep()
    assert world.versions("d") == ["2", "3"], "the version before is kept, for streams that it still has"


async def test_what_failed_is_taken_back_with_its_config(world: World):
    await (await world.made.prepare(world.snapshot(d=EMBED), "d", anew=False)).keep()
    config = (world.models / "d" / "config.pbtxt").read_text()
    changed = await world.made.prepare(world.snapshot(d=EMBED | {"dimensions": 3}), "d", anew=False)
    assert (world.models / "d" / "config.pbtxt").read_text() != config
    await changed.undo()
    assert (world.versions("d"), (world.models / "d" / "config.pbtxt").read_text()) == (["1"], config)
    again = await world.made.prepare(world.snapshot(d=EMBED), "d", anew=False)
    assert not again.changed
    new = await world.made.prepare(world.snapshot(d=EMBED, e=EMBED), "e", anew=False)
    await new.undo()
    assert not (world.models / "e").exists()


async def test_what_leaves_goes_and_what_is_not_ours_stays(world: World):
    await (await world.made.prepare(world.snapshot(d=EMBED), "d", anew=False)).keep()
    foreign = world.models / "foreign" / "1"
    foreign.mkdir(parents=True)
    for name in ("d", "foreign", "never"):
        await world.made.remove(name)
    assert [path.name for path in world.models.iterdir()] == ["foreign"]


async def test_where_somebody_else_fills_triton_nothing_is_fetched_or_written(world: World):
    made = LocalArtefacts(Environment(cache_dir=world.folder / "cache", offline=True), world.folder / "missing")
    world.files[0]["sources"] = [{"path": "/nowhere"}]
    assert not (await made.prepare(world.snapshot(d=EMBED), "d", anew=True)).changed
    assert not (world.folder / "cache").exists()
    await made.remove("d")
    made.close()


async def test_a_server_of_its_own_needs_nothing_here(world: World):
    world.files[0]["sources"] = [{"path": "/nowhere"}]
    server = {"engine": "vllm", "model": "weights", "address": "http://127.0.0.1:1"}
    assert not (await world.made.prepare(world.snapshot(d=server), "d", anew=True)).changed


async def test_a_file_that_cannot_be_had_is_named_and_nothing_is_written(world: World):
    world.files[0]["sources"] = [{"path": "/nowhere"}]
    with pytest.raises(FileUnavailable, match=r"model\.onnx"):
        await world.made.prepare(world.snapshot(d=EMBED), "d", anew=False)
    assert list(world.models.iterdir()) == []


async def test_a_language_model_must_fit_into_free_memory(world: World, monkeypatch):
    meminfo = world.folder / "meminfo"
    meminfo.write_text("MemTotal:       99999999 kB\nMemAvailable:     100000 kB\n")
    monkeypatch.setattr(artefacts, "_MEMINFO", meminfo)
    gguf = b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(64)
    (world.folder / "m.gguf").write_bytes(gguf)
    world.files[:] = [
        {
            "name": "m.gguf",
            "size": len(gguf),
            "sha256": hashlib.sha256(gguf).hexdigest(),
            "sources": [{"path": str(world.folder / "m.gguf")}],
        }
    ]
    model = {"engine": "triton-llamacpp", "model": "weights", "prefix_cache_mib": 64}
    with pytest.raises(BadInput, match=r"needs 0\.16 GiB for its caches, and this machine has 0\.10 GiB free"):
        await world.made.prepare(world.snapshot(d=model), "d", anew=False)
    meminfo.write_text("MemAvailable:     900000 kB\n")
    assert (await world.made.prepare(world.snapshot(d=model), "d", anew=False)).changed
