"""What can go wrong with a model file."""

from __future__ import annotations

from headrace_kit.errors import Upstream


class SourceFailed(Exception):
    """One source could not give the file; the next one is tried."""


class FileUnavailable(Upstream):
    """No source gave the file; the message lists what each of them did."""

    code = "model_file_unavailable"
