"""Where the client finds its address and key."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace
from headrace.errors import NotConfigured
from headrace.settings import Settings


def test_the_environment_wins_over_the_file(tmp_path):
    (tmp_path / "env").write_text("HEADRACE_URL=http://file\nexport HEADRACE_API_KEY='from-file'\n# A=b\n")
    found = Settings.find({"HEADRACE_DATA_DIR": str(tmp_path), "HEADRACE_URL": "http://variable"})
    assert (found.url, found.api_key, found.source) == ("http://variable", "from-file", tmp_path / "env")


def test_the_file_in_the_working_directory_is_the_default():
    Path(".headrace").mkdir()
    Path(".headrace/env").write_text("HEADRACE_GRPC=127.0.0.1:7801\n")
    assert Settings.find({}).require_grpc() == "127.0.0.1:7801"


@pytest.mark.parametrize("missing", ["url", "grpc", "api_key", "admin_key"])
def test_what_is_missing_is_named(missing):
    with pytest.raises(NotConfigured, match=f"HEADRACE_{missing.upper()}.*make up"):
        getattr(Settings.find({}), f"require_{missing}")()


def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(NotConfigured, match="http://"):
        headrace.AsyncHeadrace("127.0.0.1:7800", "k")


def test_every_public_name_is_there():
    assert {name: getattr(headrace, name) is not None for name in headrace.__all__} == dict.fromkeys(
        headrace.__all__, True
    )
    with pytest.raises(AttributeError, match="nobody"):
        headrace.nobody  # noqa: B018
