"""Logs: a JSON object a line on stderr, with the ids of the call being served and never any content."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

from headrace_kit.rpc.call import current_call

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a record; what was passed as `extra` becomes fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if call := current_call.get():
            line["request_id"] = call.request_id
            if call.traceparent.count("-") == 3:
                line["trace_id"] = call.traceparent.split("-")[1]
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            line["exception"] = _frames(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _frames(exc_info: Any) -> str:
    """Type and frames of an exception, not its message: that may quote what a user wrote."""
    kind, _, frames = exc_info
    return "".join(traceback.format_tb(frames)) + (kind.__name__ if kind else "")


def set_up_logs(service: str, level: str) -> None:
    """Send all logs of this process to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "alembic", "watchfiles", "_granian", "psycopg.pool"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
