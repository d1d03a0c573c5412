"""Workers on this machine, as a run opens them."""

import logging
import os
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path

import pytest

from reprocess.clusters.local import _telling_of_memory, local_executor
from reprocess.clusters.malloc import MALLOC
from reprocess.clusters.profiles import LocalProfile


def test_workers_keep_the_memory_of_a_network(monkeypatch):
    for key in MALLOC:
        monkeypatch.delenv(key, raising=False)
    profile = LocalProfile(kind="local", processes=1)
    with local_executor(profile, 1, lambda _line: None) as executor:
        found = executor.client.run(lambda: Path(f"/proc/{os.getpid()}/environ").read_bytes())
    (environment,) = found.values()  # of its beginning, when glibc reads it
    for key, value in MALLOC.items():
        assert f"{key}={value}".encode() in environment.split(b"\0")


SERVER = """
import os, signal, sys
from pathlib import Path
from reprocess.clusters.local import local_executor
from reprocess.clusters.profiles import LocalProfile

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
with local_executor(LocalProfile(kind="local", processes=1), 1, lambda _: None, ("torch",)) as one:
    (modules,) = one.client.run(lambda: sorted(sys.modules)).values()
    (parent,) = one.client.run(os.getppid).values()
    threads = len(list(Path(f"/proc/{parent}/task").iterdir()))
    print(parent != os.getpid(), {"torch", "reprocess.worker"} <= set(modules), threads)
    (of_worker,) = one.client.run(lambda: int(signal.getsignal(signal.SIGINT))).values()
    of_driver = signal.getsignal(signal.SIGINT)
    print(of_worker == signal.SIG_IGN, of_driver == signal.default_int_handler)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_the_server_of_workers_has_their_modules_one_thread_and_no_ear_for_interrupts():
    # In a process of its own: this one may have a server already, that imported less.
    # A fork of a process with threads may never get a lock that one of them held.
    found = subprocess.run(
        [sys.executable, "-c", SERVER], capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.split() == ["True", "True", "1", "True", "True"]


def test_without_a_place_for_its_socket_workers_are_spawned(monkeypatch):
    def refuse():
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(forkserver, "ensure_running", refuse)
    profile = LocalProfile(kind="local", processes=1)
    with local_executor(profile, 1, lambda _line: None) as executor:
        (parent,) = executor.client.run(os.getppid).values()
    assert parent == os.getpid()


def test_the_first_worker_that_is_ended_for_its_memory_is_told(capsys):
    said = []
    nanny = logging.getLogger("distributed.nanny.memory")
    with _telling_of_memory(said.append, 2 << 30):
        for pid in (7, 8):
            nanny.warning(f"Worker tcp://x (pid={pid}) exceeded 95% memory budget. Restarting...")
    assert len(said) == 1
    assert "needed more than its 2.0 GiB" in said[0]
    assert "fewer processes" in said[0]
    assert capsys.readouterr().err == ""


def test_workers_have_the_environment_of_now(monkeypatch):
    profile = LocalProfile(kind="local", processes=1)
    for value in ("first", "second"):
        monkeypatch.setenv("REPROCESS_TEST_OF_ENVIRONMENT", value)
        with local_executor(profile, 1, lambda _line: None) as executor:
            (found,) = executor.client.run(os.environ.get, "REPROCESS_TEST_OF_ENVIRONMENT").values()
        assert found == value
