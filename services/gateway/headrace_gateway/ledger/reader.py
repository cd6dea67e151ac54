"""Reading the local log behind its writer."""

from __future__ import annotations

from pathlib import Path

from headrace_gateway.ledger import frames
from headrace_protos.common.v1.event_pb2 import RequestEvent

_CHUNK = 1 << 20


class LogReader:
    """Reads events after a sequence, in order. `seek` starts again elsewhere."""

    def __init__(self, folder: Path, after: int) -> None:
        self._folder = folder
        self.seek(after)

    def seek(self, after: int) -> None:
        """Go on with the event after this sequence."""
        self.position = after
        self._path: Path | None = None
        self._offset = 0

    def read(self) -> list[RequestEvent]:
        """The next events, at most about 1 MiB; empty when there are none yet."""
        if self._path is None or not self._path.exists():
            self._path, self._offset = self._segment_of(self.position + 1), 0
            if self._path is None:
                return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read(_CHUNK)
        events = []
        consumed = 0
        for event, end in frames.decode(data):
            consumed = end
            if event.sequence > self.position:
                events.append(event)
        self._offset += consumed
        if events:
            self.position = events[-1].sequence
        elif not consumed:
            following = self._segment_after(self._path)
            if following is not None:
                self._path, self._offset = following, 0
                return self.read()
        return events

    def _segment_of(self, sequence: int) -> Path | None:
        listed = frames.segments(self._folder)
        holding = [path for first, path in listed if first <= sequence]
        return holding[-1] if holding else listed[0][1] if listed else None

    def _segment_after(self, path: Path) -> Path | None:
        later = [other for _, other in frames.segments(self._folder) if other > path]
        return later[0] if later else None
