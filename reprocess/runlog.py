"""The log of a run as lines of JSON under `runs/<run>/log/`: what happened, when, to which block.

Objects cannot be appended to, so a log is kept in segments: the last one is
rewritten while it grows, and the next begun when it is `SEGMENT_BYTES` long.
A log that cannot be written is said once and never stops a run.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from reprocess.errors import ReprocessError, ServiceUnavailable
from reprocess.execute import Progress
from reprocess.stores.objects import ObjectStore

LOGGER = "reprocess"
PROGRESS = "reprocess.progress"
"""Logger of lines that repeat an event for people; the log holds the event itself."""

SEGMENT_BYTES = 64 * 1024
KEEP_EVERY_S = 10.0
"""A killed run loses at most these seconds of its log."""


class RunLog(logging.Handler):
    """Collects a run's events and the lines of the package's logger while it is entered.

    Parameters
    ----------
    objects : the store of the run
    run_id : stands on every line
    """

    def __init__(self, objects: ObjectStore, run_id: str) -> None:
        super().__init__(logging.INFO)
        self._objects = objects
        self._run_id = run_id
        self._lines: list[bytes] = []
        self._segment = 1
        self._kept_at = time.monotonic()
        self._unkept = False
        self._broken = False
        self._guard = threading.RLock()

    def __enter__(self) -> RunLog:
        logging.getLogger(LOGGER).addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger(LOGGER).removeHandler(self)
        if error is not None:
            self.add("run stopped", level="error", error=f"{type(error).__name__}: {error}")
        if not isinstance(error, ServiceUnavailable):  # it was waited for long enough
            self._keep()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line that the package logged in words."""
        if record.name != PROGRESS:
            self.add("message", level=record.levelname.lower(), message=record.getMessage())

    def add(self, event: str, *, level: str = "info", **facts: Any) -> None:
        """Add one event.

        Parameters
        ----------
        event : what happened, in one or two words
        level : info, warning or error
        facts : what it happened to (`day`, `blocks`, `error` …); anything that JSON or `str`
            can show
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": now, "run": self._run_id, "level": level, "event": event, **facts}
        with self._guard:
            self._lines.append(json.dumps(line, default=str).encode() + b"\n")
            self._unkept = True
            if time.monotonic() - self._kept_at > KEEP_EVERY_S:
                self._keep()

    def task_ended(self, progress: Progress) -> None:
        """Add what became of one day: its blocks, its seconds by stage, or its last error."""
        task, result = progress.task, progress.result
        facts: dict[str, Any] = {
            "day": task.day.isoformat(),
            "blocks": [str(block) for block in task.todo],
            "reason": str(task.reason),
        }
        if progress.error is not None:
            self.add("day failed", level="error", **facts, error=progress.error)
        elif result is not None:
            seconds = {stage: round(s, 3) for stage, s in result.seconds.items()}
            self.add("day done", **facts, frames=result.n_frames, seconds=seconds)

    def _keep(self) -> None:
        with self._guard:
            if not self._unkept or self._broken:
                return
            data = b"".join(self._lines)
            try:
                self._objects.write(f"runs/{self._run_id}/log/{self._segment:04d}.jsonl", data)
            except (OSError, ReprocessError) as error:
                self._broken = True
                logging.getLogger(LOGGER).warning(
                    "the log of run %s cannot be kept, the run goes on: %s", self._run_id, error
                )
                return
            self._kept_at = time.monotonic()
            self._unkept = False
            if len(data) >= SEGMENT_BYTES:
                self._segment += 1
                self._lines = []


def read_log(objects: ObjectStore, run_id: str) -> Iterator[dict[str, Any]]:
    """Events of a run, in order; a line that is not JSON is left out."""
    for key in sorted(objects.keys(f"runs/{run_id}/log")):
        for line in objects.read(key).splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
