"""The cache of model files: quota, what may go, what is inside files, folders of entries."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from headrace_inference.catalogue import (
    FileMissing,
    FileUnavailable,
    InUse,
    NoRoom,
    collect,
    files,
    folder,
    pull,
    space,
    status,
    verify,
)
from headrace_kit.config import Environment, Snapshot, parse
from headrace_kit.errors import BadInput

MIB = 1024 * 1024
HEADER = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)


def weights(seed: int, size: int = MIB) -> bytes:
    return HEADER + bytes([seed]) * (size - len(HEADER))


def safetensors(values: bytes = b"\0" * 16, offset: int = 0) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [offset, offset + len(values)]}}).encode()
    return struct.pack("<Q", len(header)) + header + values


class Machine:
    """A machine with files of its own and a cache."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = Environment(cache_dir=root / "cache")
        self.models = root / "cache" / "models"

    def snapshot(
        self,
        entries: dict[str, dict[str, bytes]],
        used: tuple[str, ...] = (),
        quota_mib: int | None = None,
        more: str = "",
    ) -> Snapshot:
        """A config with these entries, of which deployments use some."""
        lines = ["catalogue:"]
        for name, contents in entries.items():
            place = self.root / "given" / name
            ending = next(iter(contents)).rpartition(".")[2]
            lines += [f"  {name}:", f"    format: {ending if ending in ('safetensors', 'onnx') else 'gguf'}"]
            lines += ["    licence: MIT", f"    sources: [{{path: {place}}}]", *more.splitlines(), "    files:"]
            for file, content in contents.items():
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (place / file).write_bytes(content)
                sha256 = hashlib.sha256(content).hexdigest()
                lines.append(f'      - {{name: {file}, size: {len(content)}, sha256: "{sha256}"}}')
        if used:
            lines.append("deployments:")
            lines += [f"  {name}: {{engine: llamacpp, model: {name}}}" for name in used]
        if quota_mib is not None:
            lines.append(f"services: {{inference: {{model_cache_gib: {quota_mib / 1024}}}}}")
        return Snapshot(parse("\n".join(lines)), self.root / "headrace.yaml")

    def one(self, file: str, content: bytes, more: str = "") -> Snapshot:
        return self.snapshot({"one": {file: content}}, more=more)

    def age(self, content: bytes, days: int) -> None:
        path = self.models / hashlib.sha256(content).hexdigest()
        then = path.stat().st_mtime - days * 86_400
        os.utime(path, (then, then))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def states(machine: Machine, wanted: Snapshot) -> dict[str, str]:
    return {found.entry: found.state for found in status(wanted.config, machine.env)}


def four(machine: Machine, used: tuple[str, ...], quota_mib: int | None) -> Snapshot:
    """Three entries in the cache, c the least recently used, and a fourth that is not there yet. 1 MiB each."""
    entries = {name: {"model.gguf": weights(ord(name))} for name in "abcd"}
    pull(machine.snapshot(entries), machine.env, ["a", "b", "c"])
    for name, days in (("a", 1), ("b", 2), ("c", 3)):
        machine.age(entries[name]["model.gguf"], days)
    return machine.snapshot(entries, used, quota_mib)


def test_the_least_recently_used_goes_first(machine):
    wanted = four(machine, (), 3)
    pull(wanted, machine.env, ["d"])
    assert states(machine, wanted) == {"a": "cached", "b": "cached", "c": "missing", "d": "cached"}


def test_use_makes_recent(machine):
    wanted = four(machine, (), 3)
    files(wanted.config, machine.env, "c")
    pull(wanted, machine.env, ["d"])
    assert states(machine, wanted) == {"a": "cached", "b": "missing", "c": "cached", "d": "cached"}


def test_files_of_deployments_are_never_evicted(machine):
    wanted = four(machine, ("b", "c", "d"), 3)
    pull(wanted, machine.env)
    assert states(machine, wanted) == {"a": "missing", "b": "cached", "c": "cached", "d": "cached"}
    full = four(machine, ("a", "b", "c", "d"), 3)
    (machine.models / hashlib.sha256(weights(ord("d"))).hexdigest()).unlink()
    with pytest.raises(NoRoom, match="model_cache_gib") as refused:
        pull(full, machine.env)
    assert "0.00 GiB of that may go" in refused.value.message
    assert states(machine, full) == {"a": "cached", "b": "cached", "c": "cached", "d": "missing"}


def test_files_that_another_process_uses_are_not_evicted(machine):
    wanted = four(machine, (), 3)
    other = machine.snapshot({"c": {"model.gguf": weights(ord("c"))}}, ("c",))
    config = machine.root / "other.yaml"
    config.write_text(json.dumps(other.config.model_dump(mode="json", exclude_unset=True)))
    code = """
import sys
from pathlib import Path
from headrace_inference.catalogue import InUse
from headrace_kit.config import Environment, load
held = InUse(Environment(cache_dir=Path(sys.argv[2])))
held.keep(load(Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(config), str(machine.env.cache_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout and user.stdin
        assert user.stdout.readline() == b"held\n"
        machine.age(weights(ord("c")), 3)
        pull(wanted, machine.env, ["d"])
        assert states(machine, wanted) == {"a": "cached", "b": "missing", "c": "cached", "d": "cached"}
        user.stdin.close()
    assert [item.name for item in collect(wanted.config, machine.env, unused=True)] == [
        "c/model.gguf",
        "a/model.gguf",
        "d/model.gguf",
    ]


def test_what_is_in_use_changes_with_the_config(machine):
    wanted = four(machine, ("a",), None)
    held = InUse(machine.env)
    held.keep(wanted.config)
    held.keep(four(machine, ("b",), None).config)
    free = machine.snapshot({name: {"model.gguf": weights(ord(name))} for name in "abc"})
    assert {item.name for item in collect(free.config, machine.env, unused=True, dry_run=True)} == {
        "a/model.gguf",
        "c/model.gguf",
    }
    held.close()
    assert len(collect(free.config, machine.env, unused=True, dry_run=True)) == 3


def test_collecting_takes_what_is_beyond_the_quota_and_what_was_left_behind(machine):
    wanted = four(machine, ("a",), 2)
    left = hashlib.sha256(b"left").hexdigest()
    (machine.models / f"{left}.part").write_bytes(b"x" * 10_000)
    (machine.models / f"{left}.part.map").write_bytes(b"1")
    (machine.models / f"{left}.tmp").mkdir()
    (machine.models / "wheels-999999999-ab").mkdir()
    planned = collect(wanted.config, machine.env, dry_run=True)
    assert states(machine, wanted)["c"] == "cached", "a dry run removes nothing"
    removed = collect(wanted.config, machine.env)
    assert [(item.name, item.reason) for item in removed] == [(item.name, item.reason) for item in planned]
    assert {(item.name, item.reason) for item in removed} == {
        ("c/model.gguf", "unused"),
        (f"{left}.part", "unfinished"),
        (f"{left}.part.map", "unfinished"),
        (f"{left}.tmp", "leftover"),
        ("wheels-999999999-ab", "leftover"),
    }
    assert not [path for path in machine.models.iterdir() if path.name.startswith((f"{left}.p", f"{left}.t", "wheels"))]
    assert not any("c-" in path.name for path in (machine.models / "entries").iterdir())
    assert collect(wanted.config, machine.env) == []


def test_a_full_disk_is_noticed_before_anything_is_fetched(machine, monkeypatch):
    wanted = machine.one("model.gguf", weights(1))
    monkeypatch.setattr(space, "_SPARE_BYTES", 1 << 60)
    with pytest.raises(NoRoom, match=r"free, and 0\.00 GiB are to be fetched"):
        pull(wanted, machine.env, ["one"])
    assert not list(machine.models.glob("*.tmp"))


def test_what_an_engine_made_of_a_file_goes_with_it(machine):
    wanted = machine.one("model.gguf", weights(1))
    path = pull(wanted, machine.env, ["one"])["one"]["model.gguf"].resolve()
    made = machine.models / "converted"
    made.mkdir()
    for name in (f"{path.name}-q8_0.gguf", f"{path.name}-abc.tmp", f"{'f' * 64}-q8_0.gguf"):
        (made / name).write_bytes(bytes(8192))
    removed = {item.path.name: item.reason for item in collect(wanted.config, machine.env)}
    assert removed == {f"{path.name}-abc.tmp": "leftover", f"{'f' * 64}-q8_0.gguf": "leftover"}
    (gone,) = collect(wanted.config, machine.env, unused=True)
    assert (gone.name, gone.size) == ("one/model.gguf", len(weights(1)) + 8192)
    assert not path.exists()
    assert not list(made.iterdir())


def test_an_entry_is_a_folder_with_its_files_under_their_names(machine):
    contents = {"model.gguf": weights(1), "tokenizer.json": b"{}", "1_Pooling/config.json": b'{"a": 1}'}
    wanted = machine.snapshot({"one": contents})
    found = pull(wanted, machine.env, ["one"])["one"]
    place = folder(wanted.config, machine.env, "one")
    assert place.parent == machine.models / "entries"
    assert {name: (place / name).read_bytes() for name in contents} == contents
    assert found == {name: place / name for name in contents} == files(wanted.config, machine.env, "one")
    changed = machine.snapshot({"one": {**contents, "model.gguf": weights(2)}})
    pull(changed, machine.env, ["one"])
    assert folder(changed.config, machine.env, "one") != place, "another version is another folder"
    assert (place / "model.gguf").read_bytes() == weights(1)


def test_files_that_are_not_here_are_named_with_where_they_were_looked_for(machine):
    wanted = machine.snapshot({"one": {"model.gguf": weights(1), "tokenizer.json": b"{}"}})
    with pytest.raises(FileMissing) as missing:
        files(wanted.config, machine.env, "one")
    for part in ("model.gguf, tokenizer.json", str(machine.models), "headrace models pull one"):
        assert part in missing.value.message


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: content[:-1] + b"?"])
def test_a_damaged_file_is_found_and_healed(machine, damage):
    wanted = machine.one("model.gguf", weights(1))
    path = pull(wanted, machine.env, ["one"])["one"]["model.gguf"]
    path.write_bytes(damage(weights(1)))
    (found,) = verify(wanted.config, machine.env)
    assert found.state == "corrupt"
    assert "wanted" in found.detail
    pull(wanted, machine.env, ["one"])
    assert path.read_bytes() == weights(1)
    assert verify(wanted.config, machine.env)[0].state == "cached"


PICKLE = pickle.dumps({"weights": list(range(1000))}, protocol=4)


def archive(tmp_path: Path) -> bytes:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("archive/data.pkl", PICKLE)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", PICKLE, "its header would have"),
        ("model.safetensors", safetensors()[:-1], "its tensors end at byte 16 of 15"),
        ("model.safetensors", safetensors() + b"appended", "its tensors end at byte 16 of 24"),
        ("model.safetensors", struct.pack("<Q", 2) + b"[]", "lists no tensors"),
        ("model.safetensors", b"abc", "its header is cut off"),
        ("model.gguf", b"GGUF" + struct.pack("<IQQ", 1, 1, 1), "it is of version 1"),
        ("model.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 1), "counts 1099511627776 tensors"),
        ("model.gguf", b"GGUF", "its header is cut off"),
        ("model.gguf", PICKLE, "does not start with GGUF"),
        ("model.onnx", PICKLE, "does not start with an ONNX version"),
        ("config.json", b"{", "it does not parse"),
        ("config.json", b"1", "neither an object nor a list"),
        ("vocab.txt", PICKLE, "it is a pickle"),
        ("vocab.txt", b"a\0b", "it is no text"),
        ("tokenizer.model", PICKLE, "it is a pickle"),
        ("model.onnx_data", b"PK\x03\x04 torch keeps pickles in archives", "it is a pickle"),
    ],
)
def test_a_file_is_what_its_name_says(machine, name, content, said):
    with pytest.raises(FileUnavailable, match=said):
        pull(machine.one(name, content), machine.env, ["one"])


def test_good_files_are_taken(machine, tmp_path):
    contents = {
        "model.safetensors": safetensors(),
        "config.json": b'{"architectures": []}',
        "tokenizer.model": b"\x0a\x0e\x0a\x05<unk>",
        "merges.txt": b"#version: 0.2\n",
        "chat_template.jinja": b"{{ messages }}",
    }
    assert set(pull(machine.snapshot({"one": contents}), machine.env, ["one"])["one"]) == set(contents)


def test_pickles_are_taken_only_where_the_entry_says_so(machine, tmp_path):
    made = archive(tmp_path)  # once: an archive holds the time at which it was made
    with pytest.raises(BadInput, match="allow_unsafe: true takes it"):
        machine.one("model.bin", made)
    wanted = machine.one("model.bin", made, more="    allow_unsafe: true")
    assert pull(wanted, machine.env, ["one"])["one"]["model.bin"].read_bytes() == made


def test_a_licence_that_is_not_accepted_is_not_fetched(machine):
    wanted = machine.one("model.gguf", weights(1))
    text = {**wanted.config.model_dump(mode="json", exclude_unset=True)}
    text["services"] = {"inference": {"accept_licences": ["Apache-2.0"]}}
    refused = Snapshot(parse(json.dumps(text)), wanted.path)
    with pytest.raises(BadInput, match="one is under 'MIT'"):
        pull(refused, machine.env, ["one"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{url: 'http://models.example/w'}", "http:// is for this machine"),
        ("{url: 'http://models.example/w', plain_http: true, credentials: {secret: a}}", "never sent over plain http"),
        ("{url: 'https://me:secret@models.example/w'}", "credentials do not belong in an address"),
        ("{url: 'https://models.example/w?sig=abc'}", "no query"),
        ("{url: 'ftp://models.example/w'}", "an address is https"),
        ("{url: 'https://models.example/w', user: me}", "user goes with credentials"),
        ("{path: w, credentials: {secret: a}}", "go with url"),
        ("{path: w, url: 'https://models.example/w'}", "exactly one of"),
    ],
)
def test_sources_that_cannot_be(source, said):
    text = f"""
catalogue:
  one:
    format: gguf
    licence: MIT
    files: [{{name: model.gguf, size: 1, sha256: "{"a" * 64}", sources: [{source}]}}]
"""
    with pytest.raises(BadInput, match=said):
        parse(text)


@pytest.mark.parametrize("name", ["../w.gguf", "/w.gguf", "a/../w.gguf", ".w.gguf", "a//w.gguf", "model.py"])
def test_names_that_no_file_may_have(machine, name):
    text = f"""
catalogue:
  one:
    format: gguf
    licence: MIT
    files: [{{name: {name}, size: 1, sha256: "{"a" * 64}", sources: [{{path: w}}]}}]
"""
    with pytest.raises(BadInput):
        parse(text)
