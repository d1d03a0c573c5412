"""A tiny campaign to be run again and again on a store that misbehaves."""

import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reprocess.campaign import StoreAccess
from reprocess.stores import lock as lock_module
from reprocess.stores.objects import open_objects
from reprocess.stores.s3 import S3Bucket, is_s3

FREE = ("runs/", "failures/", "locks/")
REQUESTS_AT_ONCE = 8


@pytest.fixture(scope="session")
def chaos_all():
    """Whether every case is tried, and not a sample: REPROCESS_CHAOS=all."""
    return os.environ.get("REPROCESS_CHAOS") == "all"


@pytest.fixture
def in_memory(tmp_path):
    """A directory in memory, where there is one: thousands of runs wear a disk out."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="reprocess-", dir=memory) as directory:
        yield Path(directory)


class Scenario:
    """A campaign, the objects its store begins with, and those that a run must leave."""

    def __init__(self, tiny, url, same_keys, monkeypatch):
        self.tiny, self.url, self.same_keys = tiny, url, same_keys
        self.monkeypatch = monkeypatch
        self.incarnation = 0
        self.first = {}
        self.wanted = {}
        self._by_tag = {}

    def objects(self):
        return open_objects(self.url)

    def fill(self, contents=None):
        """Make the store hold what the scenario begins with, or other objects."""
        contents = self.first if contents is None else contents
        objects, there = self.objects(), self.everything()
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(objects.delete, there.keys() - contents.keys()))
            new = [key for key, data in contents.items() if there.get(key) != data]
            list(pool.map(objects.write, new, (contents[key] for key in new)))

    def everything(self):
        """Every object's bytes, by key."""
        objects = self.objects()
        if not is_s3(self.url):
            return {key: objects.read(key) for key in objects.keys("")}
        # A listing tells the MD5 of each object: bytes that were seen before are not fetched again.
        pages = S3Bucket(self.url, StoreAccess(), "store").pages("")
        tags = {found.key: found.tag for page, _ in pages for found in page}
        new = {tag: key for key, tag in tags.items() if tag not in self._by_tag}
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            for tag, data in zip(new, pool.map(objects.read, new.values()), strict=True):
                assert hashlib.md5(data).hexdigest() == tag
                self._by_tag[tag] = data
        return {key: self._by_tag[tag] for key, tag in tags.items()}

    def keys(self):
        """What two equal runs must agree on."""
        return {k: data for k, data in self.everything().items() if not k.startswith(FREE)}

    def check(self, told=""):
        """The store holds what is wanted; `told` begins the message if not."""
        try:
            self.same_keys(self.keys(), self.wanted)
        except AssertionError as error:
            raise AssertionError(f"{told}: {error}") from error

    def check_next_run(self, told):
        """The next run ends well and leaves what is wanted."""
        outcome = self.run()
        said = f"{told}: the next run: exit code {outcome.code}: {outcome.err}{outcome.out}"
        assert outcome.code == 0, said
        self.check(f"{told}: after the next run")

    def run(self, *arguments, wrap=None):
        """One run, on a store that is wrapped; its process is another than the last one's."""
        self.incarnation += 1
        with self.monkeypatch.context() as patch:
            for module in ("job", "worker") if wrap else ():
                patch.setattr(
                    f"reprocess.{module}.open_objects",
                    lambda url, access: wrap(open_objects(url, access)),
                )
            patch.setattr("reprocess.clusters.executors.time.sleep", lambda _seconds: None)
            patch.setattr(
                lock_module, "_process_started",
                lambda pid: str(self.incarnation) if pid == os.getpid() else None,
            )  # fmt: skip
            return self.tiny.run(*arguments, store=self.url, give_up=True)


@pytest.fixture
def make_scenario(make_tiny, same_keys, swift, monkeypatch, tmp_path):  # noqa: ARG001
    """Make a scenario by its name, at a URL."""

    def make(name, url):
        tiny = make_tiny(tmp_path / "tiny")
        tiny.put_days("2021-12-31", "2022-01-01", times=("00:00", "23:50"))
        if name == "a first run":
            del tiny.document["detectors"]["fcn"]
            tiny.document["years"] = [2021]
        found = Scenario(tiny, url, same_keys, monkeypatch)
        if name == "two years":
            tiny.put_days("2021-12-29", times=("00:00", "12:00"))
            tiny.document["years"] = [2021, 2022, 2023]
            assert found.run().code == 0
            found.first = found.everything()
            found.wanted = found.keys()
            return found
        if name == "a run after changes":
            tiny.put("2022-01-02", "00:00")
            assert found.run().code == 0
            found.first = found.everything()
            tiny.put("2021-12-31", "23:50", b"")
            tiny.path("2022-01-02", "00:00").unlink()
            tiny.document["detectors"]["diff"]["threshold_dn"] = 9.0
        else:
            assert name == "a first run"
        found.fill()
        scratch = Scenario(tiny, f"{url}-scratch", same_keys, monkeypatch)
        assert scratch.run().code == 0
        found.wanted = scratch.keys()
        return found

    return make
