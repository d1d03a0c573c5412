"""Standard output and error of a command: what is printed there never ends the work.

A reader may go (`| head`), a terminal may lack a character, a stream may be closed. The
work goes on, and its exit code is that of the work.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys


class _Stream(io.FileIO):
    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            return memoryview(data).nbytes  # type: ignore[arg-type]


def ready_streams() -> None:
    """Make this process's own standard streams bear a gone reader and any character."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file, or a worker's socket, would take its number
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):
                setattr(sys, name, _sturdy(stream))


def _sturdy(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    raw = _Stream(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
