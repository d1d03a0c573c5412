"""NumPy arrays: what is refused and why."""

import io

import numpy as np
import pytest

from reprocess.archive.readers.numpy_array import NumpyArrayReader
from reprocess.errors import UnreadableFrame

SCENE = np.random.default_rng(3).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def _npy(array, allow_pickle=False):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def test_fortran_order_gives_the_same_pixels():
    found = NumpyArrayReader().read(_npy(np.asfortranarray(SCENE)))
    assert np.array_equal(found, SCENE)
    assert found.flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (SCENE.astype(np.uint32), "uint32 values, expected uint8"),
        (SCENE.astype(bool), "bool values, expected uint8"),
        (SCENE[:, :, :2], r"shape \(6, 5, 2\)"),
        (SCENE[None], r"shape \(1, 6, 5, 3\)"),
        (SCENE[0, :, 0], r"shape \(5,\)"),
        (SCENE[:0], "declares an image of 5 x 0 pixels"),
    ],
)
def test_other_arrays_are_refused(array, reason):
    with pytest.raises(UnreadableFrame, match=reason):
        NumpyArrayReader().read(_npy(array))


def test_objects_are_never_unpickled(monkeypatch):
    def loads(*_args, **_options):
        raise AssertionError("unpickled")

    data = _npy(np.array([{"a": 1}], dtype=object), allow_pickle=True)
    monkeypatch.setattr("pickle.load", loads)
    with pytest.raises(UnreadableFrame, match="object values"):
        NumpyArrayReader().read(data)


def _declaring(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def test_declared_size_is_refused_before_memory_is_taken():
    with pytest.raises(UnreadableFrame, match="1000000 x 1000000"):
        NumpyArrayReader().read(_declaring((1_000_000, 1_000_000, 3)))


@pytest.mark.parametrize("shape", [(-1, -5, 3), (-6, 5, 3)])
def test_negative_shape_is_refused(shape):
    with pytest.raises(UnreadableFrame, match="declares an image of"):
        NumpyArrayReader().read(_declaring(shape) + bytes(15))


def test_padding_is_refused():
    with pytest.raises(UnreadableFrame, match="too long: 91 bytes"):
        NumpyArrayReader().read(_npy(SCENE) + b"x")
