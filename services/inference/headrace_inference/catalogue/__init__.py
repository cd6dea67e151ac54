"""Model files: fetched from the first source that has them, checked by sha256, cached by it."""

from headrace_inference.catalogue.errors import FileUnavailable, SourceFailed
from headrace_inference.catalogue.pull import FileStatus, pull, status, verify, wanted_entries
from headrace_inference.catalogue.sources import Progress, Report

__all__ = [
    "FileStatus",
    "FileUnavailable",
    "Progress",
    "Report",
    "SourceFailed",
    "pull",
    "status",
    "verify",
    "wanted_entries",
]
