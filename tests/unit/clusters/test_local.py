"""Workers on this machine, as a run opens them."""

import os
import sys
from multiprocessing import forkserver
from pathlib import Path

import pytest

from reprocess.clusters.local import local_executor
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


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_the_server_of_workers_has_one_thread_and_their_modules():
    profile = LocalProfile(kind="local", processes=1)
    with local_executor(profile, 1, lambda _line: None, ("torch",)) as executor:
        (modules,) = executor.client.run(lambda: sorted(sys.modules)).values()
        (parent,) = executor.client.run(os.getppid).values()
    assert {"reprocess.worker", "distributed"} <= set(modules)
    assert parent == forkserver._forkserver._forkserver_pid
    # A fork of a process with threads may never get a lock that one of them held.
    assert len(list(Path(f"/proc/{parent}/task").iterdir())) == 1


def test_without_a_place_for_its_socket_workers_are_spawned(monkeypatch):
    def refuse():
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(forkserver, "ensure_running", refuse)
    profile = LocalProfile(kind="local", processes=1)
    with local_executor(profile, 1, lambda _line: None) as executor:
        (parent,) = executor.client.run(os.getppid).values()
    assert parent == os.getpid()


def test_workers_have_the_environment_of_now(monkeypatch):
    profile = LocalProfile(kind="local", processes=1)
    for value in ("first", "second"):
        monkeypatch.setenv("REPROCESS_TEST_OF_ENVIRONMENT", value)
        with local_executor(profile, 1, lambda _line: None) as executor:
            (found,) = executor.client.run(os.environ.get, "REPROCESS_TEST_OF_ENVIRONMENT").values()
        assert found == value
