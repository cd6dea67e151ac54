"""The whole platform for tests, on free ports and in a folder of its own."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI
from ruamel.yaml import YAML
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from headrace_kit.config.rollouts import merge_patch
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

_PATCH = Path(__file__).parent / "e2e" / "headrace.patch.yaml"
RUNTIMES = os.environ.get("HEADRACE_E2E_RUNTIMES", "process,ray").split(",")


class _ByPlatform(LoadScopeScheduling):
    """Keeps what shares a platform on one worker: a file, all of inference, end to end by host."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if found := re.search(rf"\[({'|'.join(RUNTIMES)})\b", test):
            return f"end to end on {found[1]}"
        return "inference" if "/integration/inference/" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """The scheduler of `--dist loadscope`. (`loadgroup` would name groups in ids, which pytest 9.2 does not let it.)"""
    return _ByPlatform(config, log) if config.getvalue("dist") == "loadscope" else None


@dataclass
class World:
    """A running platform and the keys to it."""

    platform: Platform
    runtime: str
    env: dict[str, str]
    config: Path

    @property
    def url(self) -> str:
        return self.env["HEADRACE_URL"]

    def configure(self, patch: dict | None = None) -> None:
        """Write the tests' config, with a merge patch on top."""
        write_config(self.config, patch or {})

    def http(self, key: str | None = None, **options) -> httpx.AsyncClient:
        """A client with the product team's key, or another one; "" sends none."""
        key = self.env["HEADRACE_API_KEY"] if key is None else key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, **options)

    def admin(self) -> httpx.AsyncClient:
        return self.http(self.env["HEADRACE_ADMIN_KEY"])

    async def key(self, tenant: str, *scopes: str) -> str:
        """A new key."""
        async with self.admin() as client:
            answer = await client.post(
                "/v1/admin/keys", json={"tenant": tenant, "name": "test", "scopes": list(scopes)}
            )
            assert answer.status_code == 201, answer.text
            return answer.json()["key"]


def write_config(path: Path, patch: dict) -> None:
    """The default config with the tests' own patch and another one."""
    default = (files("headrace_local") / "headrace.yaml").read_text()
    made = merge_patch(merge_patch(YAML().load(default), YAML().load(_PATCH.read_text())), patch)
    scratch = path.with_suffix(".new")
    with scratch.open("w") as file:
        YAML().dump(made, file)
    scratch.replace(path)


@contextmanager
def running(folder: Path, runtime: str) -> Iterator[World]:
    """Start a platform with its data in `folder`, and stop it at the end."""
    config = folder / "headrace.yaml"
    write_config(config, {})
    settings = Settings(data_dir=folder / "data", port_base=free_port_base(), config=config, runtime=runtime)
    platform = Platform(settings)
    platform.start(bound=True)
    try:
        yield World(platform, runtime, platform.env(), config)
    finally:
        platform.stop()


@pytest.fixture(scope="session", params=RUNTIMES)
def world(request, tmp_path_factory) -> Iterator[World]:
    """The platform that tests share; one per host. HEADRACE_E2E_ATTACH names the data folder of one that runs."""
    if folder := os.environ.get("HEADRACE_E2E_ATTACH"):
        config = Path(folder).with_name("headrace.yaml")
        settings = Settings(data_dir=Path(folder), config=config, runtime=request.param)
        attached = Platform(settings)
        settings = replace(settings, port_base=int(attached.env()["HEADRACE_URL"].rsplit(":", 1)[1]))
        yield World(Platform(settings), request.param, attached.env(), settings.config)
        return
    with running(tmp_path_factory.mktemp(request.param), request.param) as world:
        yield world


@pytest.fixture(scope="module")
def own_world(tmp_path_factory) -> Iterator[World]:
    """A platform of a module's own, for tests that break it."""
    with running(tmp_path_factory.mktemp("own"), "process") as world:
        yield world


@pytest.fixture
async def openai(world) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{world.url}/v1", api_key=world.env["HEADRACE_API_KEY"], max_retries=0) as client:
        yield client
