"""The config: errors with line, field and the nearest name; hashes; hot reload."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from headrace_kit.config import Config, ConfigInvalid, ConfigStore, Secrets, Snapshot, parse
from headrace_kit.config.collections import Collection
from headrace_kit.config.deployments import Price
from headrace_kit.config.rollouts import candidate_spec, merge_patch
from headrace_kit.config.schema import json_schema, reference
from headrace_kit.config.snapshot import TAGS
from headrace_kit.errors import NotReady

GOOD = """\
catalogue:
  qwen:
    format: gguf
    licence: Apache-2.0
    files: [{name: model.gguf, sha256: %s, size: 3, sources: [{hub: a/b/c.gguf}]}]
deployments:
  small: {engine: triton-llamacpp, model: qwen}
  large: {engine: triton-llamacpp, model: qwen}
  minilm: {engine: triton-python, task: embed, model: qwen, dimensions: 4}
models:
  assistant:
    cascade:
      - {deployment: small, accept: {signal: mean_logprob, at_least: -0.5}}
      - {deployment: large}
""" % ("a" * 64)


@pytest.mark.parametrize(
    ("text", "line", "field", "message"),
    [
        ("modles: {}\n", 1, "modles", "unknown key; did you mean 'models'?"),
        ("services:\n  gateway:\n    drain: 5\n", 3, "services.gateway.drain", "did you mean 'drain_s'?"),
        (
            "deployments:\n  s: {engine: triton-lamacpp, model: q}\n",
            2,
            "deployments.s",
            "did you mean 'triton-llamacpp'?",
        ),
        (
            "deployments:\n  s:\n    engine: triton-llamacpp\n    model: q\n    slotss: 2\n",
            5,
            "deployments.s.slotss",
            "did you mean 'slots'?",
        ),
        (
            GOOD + "services: {tracing: {drift: {topics: {embedding: small}}}}\n",
            15,
            "services.tracing.drift.topics.embedding",
            "minilm",
        ),
        (GOOD + "  m: {deployment: smal}\n", 15, "models.m.deployment", "did you mean 'small'?"),
        (GOOD + "  m: {deployment: small, retry: {attempts: 0}}\n", 15, "models.m.retry.attempts", "greater than or"),
        (GOOD + "  m: {deployment: small, fallbacks: [minilm]}\n", 15, "models.m", "the same task"),
        (GOOD + "  m: {deployment: small, adapter: legal}\n", 15, "models.m.adapter", "deployments.small.adapters"),
        (
            GOOD + "  m: {adapter: legal, cascade: [{deployment: small}]}\n",
            15,
            "models.m",
            "each stage names its own",
        ),
        (GOOD + "  m:\n    cascade: [{deployment: small}, {deployment: large}]\n", 15, "models.m", "needs accept"),
        (GOOD + "rollouts:\n  assistnt: {candidate: {}, steps: []}\n", 16, "rollouts.assistnt.candidate", "at least 1"),
        (
            GOOD + "rollouts:\n  assistant:\n    candidate: {deployment: smal}\n    steps: [{weight: 100%}]\n",
            17,
            "rollouts.assistant.candidate.deployment",
            "did you mean 'small'?",
        ),
        (
            GOOD + "rollouts:\n  assistant:\n    candidate: {deployment: small}\n    steps: [{weight: 5}]\n",
            18,
            "rollouts.assistant.steps[0].weight",
            "write it with %",
        ),
        ("a: [\n", 2, "", "expected the node content"),
        ("- 1\n", 1, "", "mapping of sections"),
    ],
)
def test_an_error_names_line_and_field(text, line, field, message):
    with pytest.raises(ConfigInvalid) as caught:
        parse(text, "h.yaml")
    problem = caught.value.problems[0]
    assert (problem.file, problem.line, problem.field) == ("h.yaml", line, field)
    assert message in problem.message


def test_an_empty_file_is_the_defaults():
    assert parse("") == Config()


def test_the_hash_is_of_the_meaning_not_of_the_text(tmp_path):
    one = Snapshot(parse(GOOD), tmp_path)
    same = Snapshot(parse("# a comment\n" + GOOD), tmp_path)
    other = Snapshot(parse(GOOD.replace("-0.5", "-0.4")), tmp_path)
    assert one.hash == same.hash != other.hash


async def test_a_changed_file_is_followed_and_a_bad_one_refused(tmp_path):
    path = tmp_path / "headrace.yaml"
    path.write_text(GOOD)
    store = ConfigStore.from_file(path)
    first = store.current
    seen: list[Snapshot] = []
    changed = asyncio.Event()
    store.on_change(lambda snapshot: (seen.append(snapshot), changed.set()))
    follow = asyncio.create_task(store.follow())
    try:
        await asyncio.sleep(0.2)  # the watch is set up by a thread that cannot be asked
        path.write_text("modles: {}\n")
        async with asyncio.timeout(10):
            while store.error is None:
                await asyncio.sleep(0.02)
        assert store.current is first and not seen
        path.write_text(GOOD.replace("-0.5", "-0.4"))
        await asyncio.wait_for(changed.wait(), 10)
    finally:
        follow.cancel()
    assert store.error is None
    assert store.hashes == [seen[0].hash, first.hash]
    assert store.get(first.hash) is first


async def test_the_store_follows_a_mounted_configmap(tmp_path):
    """The kubelet writes a new folder, moves the link `..data` to it and removes the old folder."""

    def publish(name: str, text: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "headrace.yaml").write_text(text)
        old = tmp_path / "..data"
        before = old.readlink() if old.is_symlink() else None
        (tmp_path / "..data_tmp").symlink_to(name)
        (tmp_path / "..data_tmp").rename(old)
        if before is not None:
            (tmp_path / before / "headrace.yaml").unlink()
            (tmp_path / before).rmdir()

    publish("..2026_1", GOOD)
    path = tmp_path / "headrace.yaml"
    path.symlink_to("..data/headrace.yaml")
    store = ConfigStore.from_file(path)
    seen: asyncio.Queue[Snapshot] = asyncio.Queue()
    store.on_change(seen.put_nowait)
    follow = asyncio.create_task(store.follow())
    try:
        for number, bound in enumerate(("-0.4", "-0.3", "-0.2"), 2):
            publish(f"..2026_{number}", GOOD.replace("-0.5", bound))
            snapshot = await asyncio.wait_for(seen.get(), 20)
            accept = snapshot.config.models["assistant"].cascade[0].accept
            assert accept is not None
            assert accept.at_least == float(bound)
    finally:
        follow.cancel()
    assert store.error is None


def test_secrets_come_from_the_environment_before_files(tmp_path):
    (tmp_path / "postgres-dsn").write_text("from file\n")
    assert Secrets(tmp_path).get("postgres-dsn") == "from file"
    assert Secrets(tmp_path, {"HEADRACE_SECRET_POSTGRES_DSN": "from env"}).get("postgres-dsn") == "from env"
    with pytest.raises(NotReady, match="HEADRACE_SECRET_OTHER"):
        Secrets(tmp_path).require("other")


def test_merge_patch_follows_rfc_7396():
    assert merge_patch({"a": "b", "c": {"d": "e", "f": "g"}}, {"a": "z", "c": {"f": None}}) == {
        "a": "z",
        "c": {"d": "e"},
    }
    assert merge_patch({"a": [1]}, {"a": [2, 3]}) == {"a": [2, 3]}


def test_an_adapter_belongs_to_its_deployment():
    adapters = "adapters: {legal: {model: qwen}, legal-v2: {model: qwen}}"
    text = GOOD.replace("small: {engine: triton-llamacpp,", f"small: {{{adapters}, engine: triton-llamacpp,")
    config = parse(text + "  lawyer: {deployment: small, adapter: legal}\n")
    assert config.models["lawyer"].stages[0].adapter == "legal"
    assert config.candidate("lawyer", {"adapter": "legal-v2"}).stages[0].adapter == "legal-v2"
    assert config.candidate("lawyer", {"deployment": "large"}).stages[0].adapter is None


def test_a_candidate_may_swap_cascade_for_deployment():
    config = parse(GOOD)
    assert config.candidate("assistant", {"deployment": "large"}).stages[0].deployment == "large"
    assert candidate_spec({"deployment": "a"}, {"cascade": []}) == {"cascade": []}


def test_cost_is_exact_in_nano_dollars():
    price = Price(input_usd_per_million="0.05", cached_input_usd_per_million="0.01", output_usd_per_million="0.10")
    assert price.cost_nano_usd(1000, 200, 500) == 800 * 50 + 200 * 10 + 500 * 100
    assert price.cost_nano_usd(1000, 200, 0, 300) == 500 * 50 + 200 * 10 + 300 * 50
    written = price.model_copy(update={"cache_write_usd_per_million": Decimal("0.0625")})
    assert written.cost_nano_usd(1000, 200, 0, 300) == 500 * 50 + 200 * 10 + 18_750


def test_every_field_of_the_schema_is_described():
    schema = json_schema()
    for name, section in {**schema["$defs"], "Config": schema}.items():
        for key, field in section.get("properties", {}).items():
            # Pydantic drops a description that repeats the referenced section's own.
            described = {"description", "const", "$ref"} & field.keys()
            assert described, f"{name}.{key} has no description"
    assert "| `drain_s` | number | `20` |" in reference()


def hash_of(**sections):
    return Snapshot(Config.model_validate(sections), Path("headrace.yaml")).hash


def test_an_option_that_a_version_adds_does_not_rename_a_config_without_it():
    """Services of two versions agree on the name, so that a gateway does not wait for what will never come."""

    class Newer(Config):
        novelty: int = 3

    told = {"services": {"gateway": {"drain_s": 7}}}
    newer = Snapshot(Newer.model_validate(told), Path("headrace.yaml"))
    assert newer.hash == hash_of(**told)
    assert Snapshot(Newer.model_validate({**told, "novelty": 4}), Path("headrace.yaml")).hash != newer.hash


def test_a_default_that_is_written_down_changes_no_hash_and_a_kind_alone_does():
    assert hash_of() == hash_of(services={})
    assert hash_of(services={"gateway": {"drain_s": 7}}) != hash_of(services={"gateway": {"drain_s": 8}})
    pii, secrets = ({"p": {"input": [{"check": check}]}} for check in ("pii", "secrets"))
    assert hash_of(guardrails=pii) != hash_of(guardrails=secrets)


def test_each_kind_of_a_section_has_a_tag_in_its_hash():
    seen, unions = set(), []

    def walk(kind):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in seen:
                seen.add(kind)
                for field in kind.model_fields.values():
                    walk(field.annotation)
            return
        members = [one for one in get_args(kind) if isinstance(one, type) and issubclass(one, BaseModel)]
        if len(members) > 1:
            unions.append(members)
        for one in get_args(kind):
            walk(one)

    walk(Config)
    assert len(unions) > 3
    for members in unions:
        assert all(member.model_fields.keys() & TAGS for member in members), members


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"acl": "required", "sources": {"a": {"kind": "folder", "path": "/data"}}}, "sources.a needs an acl"),
        ({"sources": {"a": {"kind": "web"}}}, "name pages, or a sitemap"),
        ({"sources": {"a": {"kind": "s3", "bucket": "b12", "access_key": {"secret": "x"}}}}, "belong together"),
        ({"sources": {"a": {"kind": "ftp", "path": "/data"}}}, "kind"),
    ],
)
def test_sources_that_cannot_be_read_or_would_show_too_much_are_refused(section, told):
    with pytest.raises(ConfigInvalid, match=told):
        parse(json.dumps({"tenants": {"red": {}}, "collections": {"c": {"tenant": "red", **section}}}))


def test_a_memory_reads_the_same_when_it_is_written_out():
    memory = Collection.model_validate({"tenant": "dev", "kind": "memory"})
    assert memory.acl == "required"
    assert Collection.model_validate(memory.model_dump(mode="json")) == memory
    with pytest.raises(ValidationError, match="leave acl out"):
        Collection.model_validate({"tenant": "dev", "kind": "memory", "acl": "none"})
