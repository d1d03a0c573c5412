"""Bytes of a plain file, and of nothing else that a name may lead to.

A name in an archive can be a pipe that never ends, a device, a socket, or a
file of a terabyte of zeros. Opening some of them waits for ever, reading
others fills the memory.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reprocess.errors import UnreadableFrame

KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_regular(path: Path, bytes_max: int) -> bytes:
    """Return all bytes of a plain file, links followed.

    Raises
    ------
    UnreadableFrame
        If it is something else, or larger than `bytes_max`; nothing was read.
    OSError
        As the file system says.
    """
    _check(path.stat(), bytes_max)  # before opening: to open a device may do something
    # Not to wait for a writer, should a pipe have taken the file's place just now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(descriptor), bytes_max)
        data = file.read(bytes_max + 1)
    check_size(len(data), bytes_max)
    return data


def check_size(size: int, bytes_max: int) -> None:
    """Refuse a file of more than so many bytes.

    Raises
    ------
    UnreadableFrame
        Naming both sizes.
    """
    if size > bytes_max:
        raise UnreadableFrame(
            f"has {size} bytes, more than the {bytes_max // 1_000_000} MB allowed"
        )


def _check(found: os.stat_result, bytes_max: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((text for is_kind, text in KINDS if is_kind(found.st_mode)), "no plain file")
        raise UnreadableFrame(f"is {kind}, expected a file")
    check_size(found.st_size, bytes_max)
