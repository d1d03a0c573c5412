"""Things that have a file's name and are none, for tests of what reads them."""

import os
import socket


def make_odd(path, kind):
    """Put something odd at a path, and return where it is to be read."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "circle":
        path.symlink_to(path.name)
    elif kind == "nowhere":
        path.symlink_to("no-such-file")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)  # sparse: takes no room on the disk
    elif kind == "socket":
        here = os.getcwd()  # noqa: PTH109 - a socket's name must be short
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "directory":
        path.mkdir()
    elif kind == "below a file":
        path.write_bytes(b"x")
        return path / "frame.npy"
    else:
        raise ValueError(kind)
    return path
