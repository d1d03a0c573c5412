import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from reprocess.errors import ConfigurationError, LockHeld, LockLost
from reprocess.stores.lock import DEAD_AFTER_S, Heartbeat, LockToken, acquire, holder
from reprocess.stores.objects import FsspecObjects, LocalObjects, MemoryObjects

N_RACERS = 20


@pytest.fixture(params=["local", "memory", "fsspec"])
def objects(request, tmp_path):
    if request.param == "local":
        return LocalObjects(tmp_path / "store")
    if request.param == "memory":
        return MemoryObjects()
    return FsspecObjects(f"memory://locks-{tmp_path.name}")


@pytest.fixture
def said():
    return []


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def rewrite(objects, lock, **changes):
    """Change what the lock's holder wrote about itself."""
    for key in (f"locks/{lock.token.name}/{lock.token.number}",
                f"locks/{lock.token.name}/{lock.token.number}.alive"):  # fmt: skip
        document = json.loads(objects.read(key))
        objects.write(key, json.dumps({**document, **changes}).encode())


def test_the_first_lock_is_number_one_and_names_its_holder(objects, said):
    lock = acquire(objects, "2021", "run-a", said.append)
    assert lock.token == LockToken("2021", 1)
    holder = json.loads(objects.read("locks/2021/1"))
    assert (holder["run"], holder["host"], holder["pid"]) == (
        "run-a", socket.gethostname(), os.getpid(),
    )  # fmt: skip
    assert said == []
    lock.token.check(objects)


def test_one_of_many_takes_the_lock(objects, said):
    barrier = threading.Barrier(N_RACERS)

    def take(i):
        barrier.wait()
        try:
            return acquire(objects, "2021", f"run-{i}", said.append)
        except LockHeld:
            return None

    with ThreadPoolExecutor(N_RACERS) as pool:
        locks = [lock for lock in pool.map(take, range(N_RACERS)) if lock]
    assert [lock.token.number for lock in locks] == [1]
    assert said == []


def test_a_live_holder_is_named(objects, said):
    acquire(objects, "2021", "run-a", said.append)
    with pytest.raises(LockHeld) as caught:
        acquire(objects, "2021", "run-b", said.append)
    text = str(caught.value)
    assert text.startswith(f"2021 is being written by run run-a on {socket.gethostname()}")
    assert f"process {os.getpid()}" in text
    assert "wait for it" in text
    assert said == []


def test_years_are_locked_apart(objects, said):
    for name in ("2020", "2021", "cube", "202"):
        assert acquire(objects, name, "run-a", said.append).token.number == 1


def test_a_released_lock_is_free_and_numbers_only_grow(objects, said):
    tokens = []
    for _ in range(12):
        lock = acquire(objects, "2021", "run-a", said.append)
        tokens.append(lock.token)
        lock.release()
    assert [token.number for token in tokens] == list(range(1, 13))
    assert said == []
    tokens[-1].check(objects)
    with pytest.raises(LockLost, match="held as number 11, but number 12 exists"):
        tokens[-2].check(objects)


def test_a_dead_process_is_taken_over_from_and_said_so(objects, said):
    orphan = acquire(objects, "2021", "run-a", said.append)
    pid = dead_pid()
    rewrite(objects, orphan, pid=pid)
    lock = acquire(objects, "2021", "run-b", said.append)
    assert lock.token.number == 2
    assert said == [
        f"took over 2021 from run run-a on {socket.gethostname()}: its process {pid} is gone"
    ]
    lock.token.check(objects)
    with pytest.raises(LockLost, match="lock 2021: held as number 1, but number 2 exists"):
        orphan.token.check(objects)


def test_a_process_number_used_again_is_another_program(objects, said):
    orphan = acquire(objects, "2021", "run-a", said.append)
    rewrite(objects, orphan, process_started="1")
    assert acquire(objects, "2021", "run-b", said.append).token.number == 2
    assert "another program now" in said[0]


def test_the_orphans_late_beat_and_release_give_nothing_back(objects, said):
    orphan = acquire(objects, "2021", "run-a", said.append)
    rewrite(objects, orphan, pid=dead_pid())
    lock = acquire(objects, "2021", "run-b", said.append)
    orphan.beat()
    orphan.release()
    lock.token.check(objects)
    with pytest.raises(LockHeld, match="run run-b"):
        acquire(objects, "2021", "run-c", said.append)


def test_one_of_many_takes_over(objects, said):
    orphan = acquire(objects, "2021", "run-a", said.append)
    rewrite(objects, orphan, pid=dead_pid())
    barrier = threading.Barrier(N_RACERS)

    def take(i):
        barrier.wait()
        try:
            return acquire(objects, "2021", f"run-{i}", said.append)
        except LockHeld:
            return None

    with ThreadPoolExecutor(N_RACERS) as pool:
        locks = [lock for lock in pool.map(take, range(N_RACERS)) if lock]
    assert [lock.token.number for lock in locks] == [2]


def test_another_host_is_alive_until_it_was_silent_for_long(objects, said, monkeypatch):
    lock = acquire(objects, "2021", "run-a", said.append)
    for silent_s in (0.0, DEAD_AFTER_S - 60):
        rewrite(objects, lock, host="elsewhere", pid=1, alive=time.time() - silent_s)
        with pytest.raises(LockHeld, match="run-a on elsewhere"):
            acquire(objects, "2021", "run-b", said.append)
    rewrite(objects, lock, alive=time.time() - DEAD_AFTER_S - 5)
    monkeypatch.setattr("reprocess.stores.lock.WATCH_S", 0.1)
    assert acquire(objects, "2021", "run-b", said.append).token.number == 2
    assert "last heard of 60" in said[0]
    assert said[1].startswith("took over 2021 from run run-a on elsewhere: silent for 60")


def test_a_dead_run_is_watched_once_for_all_its_locks(objects, said, monkeypatch):
    monkeypatch.setattr("reprocess.stores.lock.WATCH_S", 0.1)
    silent = set()
    for name in ("2020", "2021"):
        lock = acquire(objects, name, "run-a", said.append)
        rewrite(objects, lock, host="elsewhere", pid=1, alive=time.time() - DEAD_AFTER_S - 5)
        assert acquire(objects, name, "run-b", said.append, silent).token.number == 2
    assert [("watched" in text, "took over" in text) for text in said] == [
        (True, False), (False, True), (False, True),
    ]  # fmt: skip


def test_another_host_with_a_slower_clock_keeps_its_lock(objects, said, monkeypatch):
    """Silent by the clock here, and yet it beats."""
    monkeypatch.setattr("reprocess.stores.lock.WATCH_S", 60.0)
    behind = {"host": "elsewhere", "pid": 1, "alive": time.time() - 4000}
    lock = acquire(objects, "2021", "run-a", said.append)
    rewrite(objects, lock, **behind)

    def beat(text):
        said.append(text)
        threading.Timer(0.5, rewrite, (objects, lock), {"alive": behind["alive"] + 30}).start()

    with pytest.raises(LockHeld, match="run-a on elsewhere"):
        acquire(objects, "2021", "run-b", beat)
    assert len(said) == 1
    assert "watched" in said[0]


def test_a_heartbeat_of_the_future_is_told_with_the_way_out(objects, said):
    lock = acquire(objects, "2021", "run-a", said.append)
    rewrite(objects, lock, host="elsewhere", pid=1, alive=time.time() + 7200)
    with pytest.raises(
        LockHeld, match=r"last heartbeat lies 7\d\d\d s in this host's future"
    ) as held:
        acquire(objects, "2021", "run-b", said.append)
    assert "in this host's future" in holder(objects, "2021")
    marker = "locks/2021/1.released"
    assert str(held.value).endswith(f"an empty object {objects.url}/{marker}")
    objects.write(marker, b"")
    assert acquire(objects, "2021", "run-b", said.append).token.number == 2


def test_another_host_that_never_beat_counts_from_when_it_took_the_lock(objects, said):
    lock = acquire(objects, "2021", "run-a", said.append)
    rewrite(objects, lock, host="elsewhere")
    objects.delete("locks/2021/1.alive")
    with pytest.raises(LockHeld):
        acquire(objects, "2021", "run-b", said.append)
    rewrite_holder = json.loads(objects.read("locks/2021/1"))
    objects.write("locks/2021/1", json.dumps({**rewrite_holder, "taken": 1.0}).encode())
    assert acquire(objects, "2021", "run-b", said.append).token.number == 2


def test_a_lock_file_that_says_nothing_is_taken_over(objects, said):
    objects.write("locks/2021/7", b"")
    assert acquire(objects, "2021", "run-b", said.append).token.number == 8
    assert len(said) == 1


def test_a_token_whose_locks_are_gone_is_lost(objects):
    with pytest.raises(LockLost):
        LockToken("2021", 1).check(objects)


def test_a_token_travels_to_a_worker(objects, said):
    import pickle

    token = acquire(objects, "2021", "run-a", said.append).token
    pickle.loads(pickle.dumps(token)).check(objects)


def test_the_heartbeat_beats_every_lock_until_stopped(objects, said):
    locks = [acquire(objects, name, "run-a", said.append) for name in ("2020", "2021")]
    for lock in locks:
        objects.delete(f"locks/{lock.token.name}/1.alive")
    with Heartbeat(period_s=0.01) as heartbeat:
        for lock in locks:
            heartbeat.add(lock)
        _wait(lambda: all(objects.exists(f"locks/{lock.token.name}/1.alive") for lock in locks))
        heartbeat.give_back(locks[0], said.append)
    objects.delete("locks/2021/1.alive")
    time.sleep(0.05)
    assert not objects.exists("locks/2021/1.alive")


# What a disk or network says, and an S3 service whose pass has run out.
REFUSALS = [OSError("network"), ConfigurationError("store s3://b: HTTP 403 ExpiredToken")]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_missed_beat_is_made_up_for(said, refusal):
    class Flaky(MemoryObjects):
        failures = 2

        def write(self, key, data):
            if key.endswith(".alive") and self.failures:
                self.failures -= 1
                raise refusal
            super().write(key, data)

    objects = Flaky()
    objects.failures = 0
    lock = acquire(objects, "2021", "run-a", said.append)
    objects.delete("locks/2021/1.alive")
    objects.failures = 2
    with Heartbeat(period_s=0.01) as heartbeat:
        heartbeat.add(lock)
        _wait(lambda: objects.exists("locks/2021/1.alive"))
    assert objects.failures == 0


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_lock_that_cannot_be_given_back_hides_nothing(said, refusal):
    class Refuses(MemoryObjects):
        def write(self, key, data):
            if key.endswith(".released"):
                raise refusal
            super().write(key, data)

    lock = acquire(Refuses(), "2021", "run-a", said.append)
    heartbeat = Heartbeat()
    heartbeat.add(lock)
    heartbeat.give_back(lock, said.append)
    assert said == [f"lock 2021 could not be given back ({refusal}): the next run takes it over"]


def _wait(done, limit_s=10.0):
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)
