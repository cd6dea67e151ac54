"""Secrets are made once and are nobody else's to read."""

from __future__ import annotations

from pathlib import Path

from headrace_kit.config.ports import SERVICES
from headrace_kit.rpc.call import Identity
from headrace_kit.rpc.identity import Signer, Verifier
from headrace_local import secrets
from headrace_local.layout import Layout


def made(folder: Path, postgres_port: int = 1, valkey_port: int = 2) -> Layout:
    layout = Layout.of(folder)
    layout.create()
    secrets.ensure(layout, postgres_port=postgres_port, valkey_port=valkey_port)
    return layout


def test_only_the_owner_may_read_them(tmp_path):
    layout = made(tmp_path / "data")
    paths = list(layout.secrets.rglob("*"))
    assert len(paths) > len(SERVICES) + 8
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in [layout.data_dir, layout.secrets, *paths] if path.is_dir()} == {
        0o700
    }


def test_a_second_start_keeps_them_and_follows_the_ports(tmp_path):
    layout = made(tmp_path / "data")
    before = {path: path.read_text() for path in layout.secrets.rglob("*") if path.is_file()}
    assert made(tmp_path / "data") == layout
    assert {path: path.read_text() for path in before} == before
    made(tmp_path / "data", 7860, 7861)
    changed = {path.name for path, text in before.items() if path.read_text() != text}
    assert changed == {"postgres-dsn", "postgres-admin-dsn", "postgres-superuser-dsn", "valkey-url"}
    password = secrets.read(layout, "postgres-app-password")
    assert secrets.read(layout, "postgres-dsn") == f"postgresql://headrace_app:{password}@127.0.0.1:7860/headrace"
    assert secrets.read(layout, "valkey-url").endswith("@127.0.0.1:7861/0")


def test_passwords_differ(tmp_path):
    layout = made(tmp_path / "data")
    words = [
        secrets.read(layout, name) for name in ("postgres-app-password", "postgres-owner-password", "valkey-password")
    ]
    words.append(secrets.read(made(tmp_path / "other"), "valkey-password"))
    assert len(set(words)) == 4
    assert min(map(len, words)) >= 32


def test_every_service_can_sign_for_every_other(tmp_path):
    folder = made(tmp_path / "data").secrets / "signing"
    for caller in SERVICES:
        token = Signer(caller, folder).token(Identity(service=caller, tenant="dev"), "inference")
        assert Verifier("inference", folder).identity(token).service == caller


def test_a_missing_secret_is_none(tmp_path):
    assert secrets.read(made(tmp_path / "data"), "no-such-secret") is None
