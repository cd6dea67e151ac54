"""What can go wrong with a model file."""

from __future__ import annotations

from headrace_kit.errors import NotReady, Upstream


class SourceFailed(Exception):
    """One source could not give the file; the next one is tried."""


class FileUnavailable(Upstream):
    """No source gave the file; the message lists what each of them did."""

    code = "model_file_unavailable"


class FileMissing(NotReady):
    """Files of an entry are not on this machine; the message names them and says where they were looked for."""

    code = "model_file_missing"


class NoRoom(NotReady):
    """The cache's quota or its disk has no room for what is wanted; the message has the figures."""

    code = "model_cache_full"
