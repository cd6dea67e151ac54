"""A real database, migrated, for tests of what stands on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace_kit.config.ports import SERVICES
from headrace_kit.rpc.client import Peer
from headrace_kit.rpc.identity import Signer
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings


class Part:
    """Some services of the platform with PostgreSQL, as processes; the tests stand in for the gateway."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    @property
    def dsn(self) -> str:
        """PostgreSQL as the services see it."""
        return (self.platform.layout.secrets / "postgres-dsn").read_text().strip()

    def peer(self, service: str, *, caller: str = "gateway") -> Peer:
        """A connection to a service; close it."""
        assert service in SERVICES
        signer = Signer(caller, self.platform.layout.secrets / "signing")
        return Peer(service, f"127.0.0.1:{self.platform.port(f'{service}-grpc')}", signer)


@pytest.fixture(scope="module")
def part(request, tmp_path_factory) -> Iterator[Part]:
    """PostgreSQL, its schema and the services that the module names in `SERVICES`, with the module's `CONFIG`."""
    folder = tmp_path_factory.mktemp("part")
    config = folder / "headrace.yaml"
    config.write_text(request.module.CONFIG)
    platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=config))
    platform.start(["postgres", "schema", *request.module.SERVICES], bound=True)
    try:
        yield Part(platform)
    finally:
        platform.stop()
