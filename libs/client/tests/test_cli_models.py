"""`headrace models`: deployments of a fake platform, files in a cache of the test's own."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app

WEIGHTS = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + b"w" * 1000


@pytest.fixture
def run(fake, monkeypatch, tmp_path):
    """Run a command against the fake; returns the result, whose exit code must be as told."""
    monkeypatch.setenv("HEADRACE_URL", fake.url)
    monkeypatch.setenv("HEADRACE_API_KEY", "hr_team")
    monkeypatch.setenv("HEADRACE_ADMIN_KEY", "hr_admin")
    monkeypatch.setenv("HEADRACE_CACHE_DIR", str(tmp_path / "cache"))

    def call(*arguments: str, code: int = 0):
        result = CliRunner().invoke(app, ["models", *arguments])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


@pytest.fixture
def config(tmp_path) -> Path:
    """A config with one entry that a deployment uses and one that none does; it is the one here."""
    (tmp_path / "w.gguf").write_bytes(WEIGHTS)
    entry = f"""
    format: gguf
    licence: MIT
    files: [{{name: model.gguf, size: {len(WEIGHTS)}, sha256: {hashlib.sha256(WEIGHTS).hexdigest()}}}]
    sources: [{{path: .}}]
"""
    text = f"catalogue:\n  used:{entry}  spare:{entry}"
    text = text.replace("model.gguf", "w.gguf")
    text += "deployments:\n  small: {engine: llamacpp, model: used}\n  plain: {engine: triton-scripted}\n"
    text += "  hosted: {engine: litellm, model: openai/gpt-5-mini, credentials: {secret: openai}}\n"
    path = tmp_path / "headrace.yaml"
    path.write_text(text)
    return path


def test_deployments_as_a_table_and_one_by_one(run, fake):
    table = run("status").stdout.splitlines()
    assert table[1].split() == [
        *("small", "triton-llamacpp", "smollm2-135m", "ready", "2", "2/4", "1", "51.2"),
        *("180", "ms", "19.5", "ms", "50%"),
    ]
    one = run("status", "small").stdout.splitlines()
    assert one[0] == "small · ready · version 2 · triton-llamacpp · smollm2-135m"
    assert "2 of 4 slots in use, 1 waiting, 51.2 tokens/s" in one and "adapters: legal" in one
    assert json.loads(run("status", "--json").stdout)[0]["load"]["running"] == 2
    assert {seen.headers["authorization"] for seen in fake.seen} == {"Bearer hr_admin"}


def test_a_deployment_that_does_not_serve_makes_the_command_fail(run, fake, answers):
    broken = {"name": "small", "state": "failed", "detail": "model.gguf is cut off", "load_error": "again"}
    fake.answers += [answers[1](200, {"data": [broken]}), answers[1](200, broken)]
    assert run("status", code=1).stdout.rstrip().endswith("again")
    out = run("status", "small", code=1).stdout
    assert "why: model.gguf is cut off" in out and "the last load failed: again" in out


def test_load_unload_and_warm_wait_unless_told_otherwise(run, fake):
    for action in ("load", "unload", "warm"):
        assert run(action, "small").stdout.startswith("small · ready · version 2")
        posted = [seen for seen in fake.seen if seen.method == "POST"][-1]
        assert (posted.path, posted.query) == (f"/v1/admin/deployments/small:{action}", {"wait": "true"})
    assert json.loads(run("load", "small", "--no-wait", "--json").stdout)["name"] == "small"
    assert fake.seen[-1].query == {"wait": "false"}


def test_what_goes_on_is_said(run, fake, answers):
    small = {"name": "small", "state": "ready"}
    fake.answers += [answers[1](200, small), answers[1](202, {"name": "small", "state": "loading"})]
    result = run("load", "small", "--no-wait")
    assert result.stdout.startswith("small · loading")
    assert "it goes on; see: headrace models status small" in result.stderr
    fake.answers += [answers[1](200, small), answers[1](200, small, cut=True)]
    assert "what was begun goes on, see: headrace models status small" in run("load", "small", code=1).stderr


def test_why_it_could_not_be_loaded_is_said(run, fake, answers):
    error, answer = answers
    fake.answers += [answer(200, {"name": "small", "state": "ready"})]
    fake.answers += [error(502, "upstream_error", "engine_failed", "model.gguf is cut off")] * 3
    assert "headrace: model.gguf is cut off" in run("load", "small", code=1).stderr
    fake.answers.clear()
    assert "no such thing" in run("load", "none", code=1).stderr


def test_files_are_pulled_looked_at_and_verified(run, config, tmp_path):
    assert [file["state"] for file in json.loads(run("files", "--json").stdout)] == ["missing", "missing"]
    result = run("pull")
    assert "used/w.gguf: downloading" in result.stderr and "used/w.gguf: ready" in result.stderr
    [file] = json.loads(run("pull", "used", "--json").stdout)
    assert (file["state"], file["licence"], file["bytes"]) == ("cached", "MIT", len(WEIGHTS))
    assert file["last_used"]
    Path(file["path"]).write_bytes(WEIGHTS[:-1] + b"?")
    result = run("verify", "used", code=1)
    assert "corrupt" in result.stdout and "wanted" in result.stdout
    run("pull", "used")
    run("verify", "used")
    assert "the catalogue has no 'usde'; did you mean 'used'" in run("pull", "usde", code=1).stderr


def test_progress_for_machines_is_a_json_event_a_line(run, config):
    result = run("pull", "used", "--json")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [event["event"] for event in events][:2] == ["waiting", "downloading"]
    assert events[-1]["event"] == "ready" and events[-1]["done"] == events[-1]["bytes"] == len(WEIGHTS)
    assert {(event["entry"], event["file"]) for event in events} == {("used", "w.gguf")}


def test_a_file_that_cannot_be_had_fails_with_all_that_was_tried(run, config, tmp_path):
    (tmp_path / "w.gguf").unlink()
    result = run("pull", code=1)
    assert "w.gguf: no such file" in result.stderr
    error = json.loads(run("pull", "--json", code=1).stderr.splitlines()[-1])["error"]
    assert "w.gguf of catalogue entry 'used' could not be had" in error["message"]


def test_gc_says_what_would_go_before_it_goes(run, config, tmp_path):
    run("pull", "used", "spare")
    assert run("gc").stdout == "nothing to remove\n"
    left = tmp_path / "cache" / "models" / ("a" * 64 + ".part")
    left.write_bytes(b"x" * 5000)
    assert "would come free" in run("gc", "--dry-run").stdout
    assert left.exists()
    removed = json.loads(run("gc", "--json").stdout)
    assert [item["reason"] for item in removed["removed"]] == ["unfinished"] and not left.exists()
    config.write_text(config.read_text().replace("  small: {engine: llamacpp, model: used}\n", ""))
    assert "w.gguf" in run("gc", "--unused").stdout
    assert {file["state"] for file in json.loads(run("files", "--json").stdout)} == {"missing"}


def test_render_prints_writes_and_checks(run, config, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADRACE_TRITON_ENV", str(tmp_path / "nowhere"))
    printed = run("render", "plain").stdout
    assert "# plain/config.pbtxt" in printed and 'name: "plain"' in printed
    result = run("render", "plain", "--out", "built", "--check")
    assert result.stdout == "plain: built/plain\n"
    assert result.stderr == "plain: checked against schemas, not loaded\n"
    assert (Path("built") / "plain" / "1" / "model.py").is_file()
    [found] = json.loads(run("render", "plain", "--check", "--json").stdout)
    assert (found["checked"], found["problems"]) == ("checked against schemas, not loaded", [])
    assert "there is no deployment 'plian'; did you mean 'plain'" in run("render", "plian", code=1).stderr
    assert "there is nothing to render" in run("render", "hosted", code=1).stderr


def test_what_the_engine_would_refuse_makes_render_fail(run, config, monkeypatch):
    from headrace_inference.rendering import schemas

    monkeypatch.setattr(schemas, "unknown_flags", lambda *_: ["--fast"])
    config.write_text(
        config.read_text()
        + "  far: {engine: vllm, model: used, address: 'http://127.0.0.1:9', context_tokens: 1024, slots: 4}\n"
    )
    assert "far: vllm has no --fast" in run("render", "far", "--check", "--models-dir", "/models", code=1).stderr
    [found] = json.loads(run("render", "far", "--check", "--models-dir", "/models", "--json", code=1).stdout)
    assert found["problems"] == ["far: vllm has no --fast"]


def test_looking_at_models_imports_no_engine():
    heavy = "('httpx', 'grpc', 'headrace_inference', 'headrace_kit')"
    probe = f"import sys, headrace.cli.models; print(*[m for m in {heavy} if m in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == ""
