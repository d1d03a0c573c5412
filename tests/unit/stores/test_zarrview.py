import asyncio
import hashlib

import numpy as np
import pytest
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from reprocess.errors import StoreError
from reprocess.stores.objects import LocalObjects, MemoryObjects
from reprocess.stores.zarrview import ZarrView, digest

CHUNK = "a/b.zarr/x/c/0"
OTHER = "a/b.zarr/x/c/1"


def get(view, key, part=None):
    buffer = asyncio.run(view.get(key, default_buffer_prototype(), part))
    return None if buffer is None else buffer.to_bytes()


@pytest.fixture(params=["local", "memory"])
def objects(request, tmp_path):
    """A hierarchy of one array of two chunks, the second one all fill."""
    objects = LocalObjects(tmp_path) if request.param == "local" else MemoryObjects()
    objects.view = ZarrView(objects, "a/b.zarr")
    group = zarr.create_group(objects.view, zarr_format=3)
    array = group.create_array("x", shape=(8,), chunks=(4,), dtype="int32", fill_value=-1)
    objects.view.written.clear()
    array[:4] = np.arange(4)
    return objects


def read(objects, expected):
    view = ZarrView(objects, "a/b.zarr", expected, read_only=True)
    return zarr.open_group(view, mode="r", zarr_format=3)["x"][:]


def test_what_is_stored_is_remembered_by_its_digest(objects):
    assert objects.view.written == {CHUNK: hashlib.sha256(objects.read(CHUNK)).hexdigest()}
    assert digest(b"") == hashlib.sha256(b"").hexdigest()


def test_a_chunk_that_becomes_fill_is_deleted_and_forgotten(objects):
    array = zarr.open_group(objects.view, mode="r+", zarr_format=3)["x"]
    array[:4] = -1
    assert not objects.exists(CHUNK)
    assert objects.view.written == {}


def test_the_bytes_of_the_record_are_read(objects):
    assert read(objects, objects.view.written).tolist() == [0, 1, 2, 3, -1, -1, -1, -1]
    assert read(objects, None).tolist() == [0, 1, 2, 3, -1, -1, -1, -1]


def test_a_flipped_bit_is_refused_and_the_key_named(objects):
    data = bytearray(objects.read(CHUNK))
    data[-1] ^= 1
    objects.write(CHUNK, bytes(data))
    with pytest.raises(StoreError) as caught:
        read(objects, objects.view.written)
    assert f"/{CHUNK}: found content" in str(caught.value)
    assert "the next run does it again" in str(caught.value)


def test_a_missing_object_is_refused(objects):
    objects.delete(CHUNK)
    with pytest.raises(StoreError, match=f"/{CHUNK}: found no object, the record expects "):
        read(objects, objects.view.written)


def test_an_object_that_no_record_names_is_refused(objects):
    objects.write(OTHER, objects.read(CHUNK))
    with pytest.raises(StoreError, match=f"/{OTHER}: found content .* the record expects no objec"):
        read(objects, objects.view.written)


def test_metadata_is_read_without_a_record(objects):
    view = ZarrView(objects, "a/b.zarr", {}, read_only=True)
    assert zarr.open_group(view, mode="r", zarr_format=3)["x"].shape == (8,)


def test_a_part_is_cut_from_the_checked_whole(objects):
    whole = objects.read(CHUNK)
    view = ZarrView(objects, "a/b.zarr", objects.view.written)
    assert get(view, "x/c/0") == whole
    assert get(view, "x/c/0", RangeByteRequest(2, 5)) == whole[2:5]
    assert get(view, "x/c/0", OffsetByteRequest(3)) == whole[3:]
    assert get(view, "x/c/0", SuffixByteRequest(4)) == whole[-4:]
    objects.write(CHUNK, whole + b"x")
    with pytest.raises(StoreError):
        get(view, "x/c/0", RangeByteRequest(2, 5))


def test_absent_keys_and_directories_are_absent(objects):
    view = ZarrView(objects, "a/b.zarr")
    for key in ("y/zarr.json", "x", "x/c/0/0"):
        assert get(view, key) is None
        assert asyncio.run(view.exists(key)) is False


def test_a_read_only_view_writes_nothing(objects):
    view = objects.view.with_read_only(True)
    array = zarr.open_group(view, mode="r", zarr_format=3)["x"]
    with pytest.raises(ValueError, match="read-only"):
        array[:4] = 7
    with pytest.raises(ValueError, match="read-only"):
        asyncio.run(view.delete("x/c/0"))


def test_listing_stays_inside_the_hierarchy(objects):
    objects.write("a/b.zarr2/zarr.json", b"")
    objects.write("a/zarr.json", b"")

    async def collect(listing):
        return sorted([key async for key in listing])

    view = ZarrView(objects, "a/b.zarr")
    assert asyncio.run(collect(view.list())) == ["x/c/0", "x/zarr.json", "zarr.json"]
    assert asyncio.run(collect(view.list_prefix("x/"))) == ["x/c/0", "x/zarr.json"]
    assert asyncio.run(collect(view.list_dir(""))) == ["x", "zarr.json"]
    assert asyncio.run(collect(view.list_dir("x"))) == ["c", "zarr.json"]


def test_views_of_one_place_are_equal(objects):
    assert ZarrView(objects, "a/b.zarr") == objects.view
    assert ZarrView(objects, "a/c.zarr") != objects.view
    assert str(objects.view) == f"{objects.url}/a/b.zarr"
