"""Locks: one writer a year, and a way to take over from a dead one.

The holder of a year is whoever created its highest `locks/<year>/<n>`.
Numbers only grow: a release leaves `<n>.released` beside it, and a takeover
creates n + 1, so that an orphaned worker which still holds n finds out
before its next chunk. A lock is dead when its process is gone (same host) or
when its heartbeat is older than `DEAD_AFTER_S` (any other host) and does not
change while it is watched, since the clocks of two hosts may differ; a
takeover is always reported, never silent.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprocess.errors import LockHeld, LockLost, ReprocessError
from reprocess.stores.objects import ObjectStore

HEARTBEAT_S = 30.0
DEAD_AFTER_S = 600.0
WATCH_S = 3 * HEARTBEAT_S
"""A heartbeat that does not change for so long is none, whatever the two clocks say."""

CLOCKS_AGREE_S = 86_400.0
"""No clock is wrong by more: a heartbeat that is older need not be watched."""


@dataclass(frozen=True)
class LockToken:
    """What a worker needs to find out whether its run still holds a year."""

    name: str
    number: int

    def check(self, objects: ObjectStore) -> None:
        """Raise `LockLost` if another run has taken this lock over."""
        highest = max(_numbers(objects, self.name), default=0)
        if highest != self.number:
            raise LockLost(
                f"lock {self.name}: held as number {self.number}, but number {highest} exists: "
                f"another run has taken over; nothing more is written by this one"
            )


class Lock:
    """A lock that this process holds, kept alive by `beat` until `release`."""

    def __init__(self, objects: ObjectStore, token: LockToken, holder: dict[str, Any]) -> None:
        self._objects = objects
        self._holder = holder
        self.token = token

    def beat(self) -> None:
        """Say that the holder is alive."""
        key = f"{_key(self.token.name, self.token.number)}.alive"
        self._objects.write(key, _encode({**self._holder, "alive": time.time()}))

    def release(self) -> None:
        """Give the lock back; the number is never used again."""
        key = f"{_key(self.token.name, self.token.number)}.released"
        self._objects.write(key, _encode(self._holder))


def acquire(
    objects: ObjectStore,
    name: str,
    run_id: str,
    report: Callable[[str], None],
    silent: set[str] | None = None,
) -> Lock:
    """Take a lock, or say who holds it.

    Parameters
    ----------
    objects : the store
    name : `2021`, or `cube`
    run_id : of the run that wants it
    report : told of a takeover from a dead run
    silent : runs that were watched in vain for another lock, and are not watched again; added to

    Raises
    ------
    LockHeld
        If a live run holds it; the message names it.
    """
    holder = {
        "run": run_id, "host": socket.gethostname(), "pid": os.getpid(),
        "process_started": _process_started(os.getpid()),
    }  # fmt: skip
    number = max(_numbers(objects, name), default=0)
    if number and not objects.exists(f"{_key(name, number)}.released"):
        who = _decode(objects, _key(name, number))
        reason = _dead(objects, name, number, who)
        known = set() if silent is None else silent
        if reason is not None and _elsewhere(who) and str(who.get("run")) not in known:
            if _lives(objects, name, number, who, report):
                reason = None
            else:
                known.add(str(who.get("run")))
        if reason is None:
            way_out = "wait for it, or stop it and run again"
            if _elsewhere(who):
                way_out += (
                    f". If it is known to be dead, say so with an empty object "
                    f"{objects.url}/{_key(name, number)}.released"
                )
            raise LockHeld(
                f"{name} is being written by {_described(objects, name, number, who)}; {way_out}"
            )
        report(f"took over {name} from run {who.get('run')} on {who.get('host')}: {reason}")
    token = LockToken(name, number + 1)
    holder["taken"] = time.time()
    if not objects.create(_key(name, token.number), _encode(holder)):
        raise LockHeld(f"{name}: another run took the lock at this moment; wait for it")
    lock = Lock(objects, token, holder)
    lock.beat()
    return lock


def guard(objects: ObjectStore, *locks: Lock) -> Callable[[], None]:
    """What raises `LockLost` once another run has taken one of these locks over."""

    def check() -> None:
        for lock in locks:
            lock.token.check(objects)

    return check


def holder(objects: ObjectStore, name: str) -> str | None:
    """Say which live run holds a lock; None if none does."""
    number = max(_numbers(objects, name), default=0)
    if not number or objects.exists(f"{_key(name, number)}.released"):
        return None
    who = _decode(objects, _key(name, number))
    if _dead(objects, name, number, who) is not None:
        return None
    return _described(objects, name, number, who)


class Heartbeat:
    """Beats every lock it is given, from a thread, until stopped."""

    def __init__(self, period_s: float = HEARTBEAT_S) -> None:
        self._locks: list[Lock] = []
        self._stop = threading.Event()
        self._period_s = period_s
        self._thread = threading.Thread(target=self._run, name="lock-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()

    def add(self, lock: Lock) -> None:
        self._locks.append(lock)

    def give_back(self, lock: Lock, say: Callable[[str], None]) -> None:
        """Release a lock; a store that refuses is told of, and must not hide why a run ended."""
        self._locks.remove(lock)
        try:
            lock.release()
        except (OSError, ReprocessError) as error:
            name = lock.token.name
            say(f"lock {name} could not be given back ({error}): the next run takes it over")

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            for lock in list(self._locks):
                try:
                    lock.beat()
                except (OSError, ReprocessError):  # an S3 service that refuses says the latter
                    continue  # a missed beat is made up for by the next; DEAD_AFTER_S is many


def _elsewhere(who: dict[str, Any]) -> bool:
    return who.get("host") != socket.gethostname()


def _described(objects: ObjectStore, name: str, number: int, who: dict[str, Any]) -> str:
    """The run that holds a lock and, where only its heartbeat tells, when it was heard of."""
    text = f"run {who.get('run')} on {who.get('host')} (process {who.get('pid')})"
    if not _elsewhere(who):
        return text
    silent_s = _silent_s(objects, name, number, who)
    if silent_s < -WATCH_S:
        return f"{text}, whose last heartbeat lies {-silent_s:.0f} s in this host's future"
    return f"{text}, last heard of {max(silent_s, 0.0):.0f} s ago"


def _lives(
    objects: ObjectStore, name: str, number: int, who: dict[str, Any], report: Callable[[str], None]
) -> bool:
    """Whether a run that is silent by this host's clock beats while it is watched."""
    if not who or _silent_s(objects, name, number, who) > CLOCKS_AGREE_S:
        return False
    report(
        f"{name} is held by {_described(objects, name, number, who)}: watched for {WATCH_S:.0f} s "
        f"before it is taken over, since clocks may differ"
    )
    key = f"{_key(name, number)}.alive"
    before = _decode(objects, key)
    end = time.monotonic() + WATCH_S
    while time.monotonic() < end:
        time.sleep(WATCH_S / 30)
        if _decode(objects, key) != before:
            return True
    return False


def _silent_s(objects: ObjectStore, name: str, number: int, who: dict[str, Any]) -> float:
    """Seconds since the last heartbeat by this host's clock; below 0 if it lies in the future."""
    alive = _decode(objects, f"{_key(name, number)}.alive").get("alive")
    return time.time() - (_number(alive) or _number(who.get("taken")))


def _dead(objects: ObjectStore, name: str, number: int, who: dict[str, Any]) -> str | None:
    if not _elsewhere(who):
        pid = int(_number(who.get("pid")))
        started = _process_started(pid)
        if started is None:
            return f"its process {pid} is gone"
        if who.get("process_started") not in (None, started):
            return f"process {pid} is another program now"
        return None
    silent_s = _silent_s(objects, name, number, who)
    return f"silent for {silent_s:.0f} s" if silent_s > DEAD_AFTER_S else None


def _process_started(pid: int) -> str | None:
    """The start time of a process in clock ticks since boot; None when it is not running."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
        return _process_exists(pid)  # no /proc: macOS
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def _process_exists(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "unknown"
    return "unknown"


def _numbers(objects: ObjectStore, name: str) -> list[int]:
    tails = (key.rpartition("/")[2] for key in objects.keys(f"locks/{name}"))
    return [int(tail) for tail in tails if tail.isascii() and tail.isdecimal() and len(tail) < 16]


def _key(name: str, number: int) -> str:
    return f"locks/{name}/{number}"


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _decode(objects: ObjectStore, key: str) -> dict[str, Any]:
    """What a lock says; empty where it cannot be read, so that only its silence tells."""
    try:
        document = json.loads(objects.read(key))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _number(value: object) -> float:
    """A number out of a lock, 0 for anything that no run writes there."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 2**40 else 0.0
