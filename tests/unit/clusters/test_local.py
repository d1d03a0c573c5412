"""Workers on this machine, as a run opens them."""

import os

from reprocess.clusters.local import local_executor
from reprocess.clusters.malloc import MALLOC
from reprocess.clusters.profiles import LocalProfile


def test_workers_keep_the_memory_of_a_network(monkeypatch):
    for key in MALLOC:
        monkeypatch.delenv(key, raising=False)
    profile = LocalProfile(kind="local", processes=1)
    with local_executor(profile, 1, lambda _line: None) as executor:
        found = executor.client.run(lambda: dict(os.environ))
    (environment,) = found.values()
    assert {key: int(environment[key]) for key in MALLOC} == MALLOC
