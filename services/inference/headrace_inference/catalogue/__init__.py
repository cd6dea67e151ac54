"""Model files: fetched from the first source that has them, checked by sha256, cached by it."""

from headrace_inference.catalogue.cache import InUse, collect, files, folder, wanted_entries
from headrace_inference.catalogue.errors import FileMissing, FileUnavailable, NoRoom, SourceFailed
from headrace_inference.catalogue.look import FileStatus, status, verify
from headrace_inference.catalogue.pull import pull
from headrace_inference.catalogue.sources import Progress, Report
from headrace_inference.catalogue.space import Removed

__all__ = [
    "FileMissing",
    "FileStatus",
    "FileUnavailable",
    "InUse",
    "NoRoom",
    "Progress",
    "Removed",
    "Report",
    "SourceFailed",
    "collect",
    "files",
    "folder",
    "pull",
    "status",
    "verify",
    "wanted_entries",
]
