"""What every object store promises, tested on all of them."""

import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from reprocess.errors import ConfigurationError
from reprocess.stores.objects import (
    SCRATCH,
    FsspecObjects,
    LocalObjects,
    MemoryObjects,
    S3Objects,
    open_objects,
)

N_RACERS = 20


@pytest.fixture(
    params=["local", "memory", "fsspec", "moto", pytest.param("radosgw", marks=pytest.mark.s3)]
)
def objects(request, tmp_path):
    if request.param == "local":
        return LocalObjects(tmp_path / "store")
    if request.param == "memory":
        return MemoryObjects()
    if request.param == "fsspec":
        return FsspecObjects(f"memory://test-objects-{uuid.uuid4().hex}")
    service = request.getfixturevalue("moto_s3" if request.param == "moto" else "radosgw")
    return S3Objects(f"{service.make_bucket()}/{uuid.uuid4().hex}")


def listed(objects, prefix=""):
    return sorted(key for key in objects.keys(prefix) if not key.startswith(SCRATCH))


def test_what_is_written_is_read(objects):
    for data in (b"", b"\0\xff" * 1000, b"text"):
        objects.write("a/b/c", data)
        assert objects.read("a/b/c") == data


def test_a_write_replaces_the_whole_object(objects):
    objects.write("k", b"a long first content")
    objects.write("k", b"short")
    assert objects.read("k") == b"short"
    assert listed(objects) == ["k"]


def test_an_absent_object_is_file_not_found(objects):
    with pytest.raises(FileNotFoundError):
        objects.read("a/absent")
    objects.write("a/present", b"x")
    with pytest.raises(FileNotFoundError):
        objects.read("a/absent")
    assert not objects.exists("a/absent")


def test_exists_is_true_of_objects_and_not_of_their_directories(objects):
    objects.write("a/b", b"")
    assert objects.exists("a/b")
    assert not objects.exists("a")
    assert not objects.exists("a/b/c")


def test_create_never_replaces(objects):
    assert objects.create("locks/1", b"first") is True
    assert objects.create("locks/1", b"second") is False
    assert objects.read("locks/1") == b"first"
    objects.write("locks/2", b"written")
    assert objects.create("locks/2", b"created") is False
    assert objects.read("locks/2") == b"written"


def test_create_again_with_the_same_bytes_still_says_no(objects):
    data = b"the very same object"
    assert objects.create("k", data) is True
    assert objects.create("k", data) is False


def test_one_of_many_creators_wins(objects):
    barrier = threading.Barrier(N_RACERS)

    def create(i):
        barrier.wait()
        return objects.create("locks/1", b"%d" % i)

    with ThreadPoolExecutor(N_RACERS) as pool:
        won = list(pool.map(create, range(N_RACERS)))
    assert sum(won) == 1
    assert objects.read("locks/1") == b"%d" % won.index(True)


def test_a_deleted_object_can_be_created_again(objects):
    objects.create("k", b"1")
    objects.delete("k")
    assert not objects.exists("k")
    assert objects.create("k", b"2") is True


def test_delete_removes_one_object_and_forgives_an_absent_one(objects):
    objects.write("a/1", b"")
    objects.write("a/2", b"")
    objects.delete("a/1")
    objects.delete("a/1")
    objects.delete("nowhere/at/all")
    assert listed(objects) == ["a/2"]


def test_keys_lists_what_is_below_a_directory_and_no_neighbour(objects):
    for key in ("a/1", "a/b/2", "ab/3", "c"):
        objects.write(key, b"x")
    assert listed(objects, "a") == ["a/1", "a/b/2"]
    assert listed(objects, "a/b") == ["a/b/2"]
    assert listed(objects) == ["a/1", "a/b/2", "ab/3", "c"]
    assert listed(objects, "absent") == []


def test_an_empty_store_lists_nothing(objects):
    assert listed(objects) == []
    assert listed(objects, "records/2021") == []


def test_keys_sees_every_write_and_delete_at_once(objects):
    for i in range(3):
        objects.write(f"locks/2021/{i}", b"")
        assert len(listed(objects, "locks/2021")) == i + 1
    objects.delete("locks/2021/1")
    assert listed(objects, "locks/2021") == ["locks/2021/0", "locks/2021/2"]


def test_delete_tree_takes_all_below_and_no_neighbour(objects):
    for key in ("a/1", "a/b/2", "ab/3"):
        objects.write(key, b"x")
    objects.delete_tree("a")
    objects.delete_tree("absent")
    assert listed(objects) == ["ab/3"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x"])
def test_a_key_that_leaves_the_store_is_refused(objects, key):
    for call in (
        lambda: objects.read(key),
        lambda: objects.write(key, b""),
        lambda: objects.create(key, b""),
        lambda: objects.delete(key),
        lambda: objects.exists(key),
    ):
        with pytest.raises(ValueError, match="relative path"):
            call()


def test_threads_write_side_by_side(objects):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: objects.write(f"d/{i % 5}/{i}", b"%d" % i), range(40)))
    assert len(listed(objects, "d")) == 40
    assert all(objects.read(key) == key.rpartition("/")[2].encode() for key in listed(objects, "d"))


def test_a_delete_never_takes_the_ground_from_under_a_write(objects):
    n = 5 if objects.url.startswith("s3") else 60

    def come_and_go(i):
        for _ in range(n):
            objects.write(f"records/2021/frames/{i}", b"x")
            objects.delete(f"records/2021/frames/{i}")
            assert objects.create(f"records/2021/frames/{i}", b"y")
            objects.delete(f"records/2021/frames/{i}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(come_and_go, range(6)))
    assert listed(objects) == []


def test_the_url_opens_the_same_objects(objects):
    if isinstance(objects, MemoryObjects):
        pytest.skip("objects in this process's memory have no URL")
    objects.write("a/b", b"x")
    again = open_objects(objects.url)
    assert again.url == objects.url
    assert again.read("a/b") == b"x"


# --- what only a disk can get wrong ----------------------------------------------------------


def test_local_scratch_is_left_empty(tmp_path):
    objects = LocalObjects(tmp_path)
    objects.write("k", b"1")
    objects.create("k", b"2")
    objects.create("l", b"3")
    assert sorted(objects.keys("")) == ["k", "l"]


def test_a_local_write_that_fails_leaves_the_old_object(tmp_path, monkeypatch):
    objects = LocalObjects(tmp_path)
    objects.write("k", b"old")

    def full(fd):  # noqa: ARG001
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            objects.write("k", b"new")
        with pytest.raises(OSError, match="No space left"):
            objects.create("l", b"new")
    assert sorted(objects.keys("")) == ["k"]
    assert objects.read("k") == b"old"


def test_a_disk_without_hard_links_still_creates_once(tmp_path, monkeypatch):
    def refuse(source, target):  # noqa: ARG001
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    objects = LocalObjects(tmp_path)
    assert objects.create("locks/1", b"first") is True
    assert objects.create("locks/1", b"second") is False
    assert objects.read("locks/1") == b"first"


def test_a_path_and_a_file_url_open_a_directory(tmp_path):
    for url in (str(tmp_path), f"file://{tmp_path}"):
        assert isinstance(open_objects(url), LocalObjects)
        assert open_objects(url).url == str(tmp_path)


def test_an_unknown_protocol_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match=r"store nosuch://x: .*expected a directory"):
        open_objects("nosuch://x")
