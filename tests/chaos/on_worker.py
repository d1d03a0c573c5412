"""Loaded into each worker of the chaos tests by `dask worker --preload`: tells, waits, dies.

Nothing of the package knows of this file. The environment says what to do:

CHAOS_LOG : a file in which each execution and each death at a chosen point is a line
CHAOS_SECONDS : how much longer a day takes
CHAOS_DEATHS : how many workers kill themselves, each at an operation on another kind of key
CHAOS_WAIT_AT : part of a key; the first write of such a key waits until CHAOS_LOG.go exists
"""

import fcntl
import os
import signal
import time
from pathlib import Path

PLACES = (
    "/image/c/", ".000000", "frames/20", "evidence/", "detections/", "records/", "/c/", "",
)  # fmt: skip


def tell(*words):
    with open(os.environ["CHAOS_LOG"], "a") as log:
        log.write(" ".join(map(str, (*words, os.getpid(), time.time_ns()))) + "\n")


def my_death():
    """The number of this worker among those that are to die; None if enough have."""
    with open(os.environ["CHAOS_LOG"] + ".deaths", "a+") as book:
        fcntl.flock(book, fcntl.LOCK_EX)
        book.seek(0)
        number = len(book.read())
        if number >= int(os.environ.get("CHAOS_DEATHS", "0")):
            return None
        book.write("x")
        return number


def dask_setup(_worker):
    from reprocess import execute
    from reprocess.stores.objects import LocalObjects

    whole = execute.process_block
    wait_at = os.environ.get("CHAOS_WAIT_AT")
    number = my_death()
    place = PLACES[number % len(PLACES)] if number is not None else None
    left = [2 + (number or 0) % 11]

    def process_block(task, *arguments):
        tell("begin", task.day)
        time.sleep(float(os.environ.get("CHAOS_SECONDS", "0")))
        result = whole(task, *arguments)
        tell("end", task.day)
        return result

    def around(name):
        method = getattr(LocalObjects, name)

        def change(objects, key, *arguments):
            if wait_at and wait_at in key:
                tell("waits", key)
                while not Path(os.environ["CHAOS_LOG"] + ".go").exists():
                    time.sleep(0.05)
                os.environ["CHAOS_LOG_WENT"] = "1"
            if place is not None and place in key:
                left[0] -= 1
                if left[0] < 0:
                    tell("died", key)
                    os.kill(os.getpid(), signal.SIGKILL)
            return method(objects, key, *arguments)

        setattr(LocalObjects, name, change)

    execute.process_block = process_block
    for name in ("write", "create", "delete"):
        around(name)
