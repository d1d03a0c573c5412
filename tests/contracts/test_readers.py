"""What every reader promises, run over all of them."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reprocess.archive.readers.reader import READERS, load_reader
from reprocess.errors import ConfigurationError, UnreadableFrame


@dataclass(frozen=True)
class Case:
    """A reader, and how a file it reads is made of an image."""

    reader: str
    form: str
    encode: Callable[[np.ndarray], bytes]
    lossless: bool = True


def _pillow(form, **options):
    def encode(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, form, **options)
        return file.getvalue()

    return encode


def _npy(image):
    file = io.BytesIO()
    np.save(file, image)
    return file.getvalue()


CASES = [
    Case("still", "jpeg", _pillow("JPEG", quality=95), lossless=False),
    Case("still", "jpeg-progressive", _pillow("JPEG", progressive=True), lossless=False),
    Case("still", "png", _pillow("PNG")),
    Case("still", "tiff", _pillow("TIFF")),
    Case("still", "tiff-lzw", _pillow("TIFF", compression="tiff_lzw")),
    Case("npy", "npy", _npy),
]


def _scene(height=40, width=56):
    """Smooth, with all three channels different and no symmetry."""
    y, x = np.mgrid[:height, :width].astype(float)
    channels = [20 + 3 * y + x, 200 - 2 * y - x, 60 + 0.05 * x * y]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


@pytest.fixture(params=CASES, ids=lambda case: case.form)
def case(request):
    return request.param


def test_every_reader_is_in_this_suite():
    assert {case.reader for case in CASES} == set(READERS)


def test_colour_image_comes_out_as_it_went_in(case):
    scene = _scene()
    image = load_reader(case.reader).read(case.encode(scene))
    assert image.shape == scene.shape
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    difference = np.abs(image.astype(int) - scene)
    assert difference.max() == 0 if case.lossless else difference.mean() < 4


def test_grey_becomes_three_equal_channels(case):
    scene = _scene()[:, :, 0]
    image = load_reader(case.reader).read(case.encode(scene))
    assert image.shape == (*scene.shape, 3)
    assert np.array_equal(image[:, :, 0], image[:, :, 1])
    assert np.array_equal(image[:, :, 0], image[:, :, 2])
    assert np.abs(image[:, :, 0].astype(int) - scene).mean() < (1e-9 if case.lossless else 4)


def test_same_bytes_give_the_same_pixels(case):
    data = case.encode(_scene())
    first, second = (load_reader(case.reader).read(data) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_file_cut_anywhere_is_refused_with_a_reason(case):
    data = case.encode(_scene())
    reader = load_reader(case.reader)
    for cut in range(len(data)):
        with pytest.raises(UnreadableFrame) as refused:
            reader.read(data[:cut])
        assert str(refused.value).strip(), cut


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"hello, no image\n", b"<html>404 Not Found</html>", bytes(5000)]
)
def test_what_is_no_image_is_refused(case, data):
    with pytest.raises(UnreadableFrame):
        load_reader(case.reader).read(data)


def test_empty_file_says_so(case):
    with pytest.raises(UnreadableFrame, match="empty file"):
        load_reader(case.reader).read(b"")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_gives_an_image_and_never_raises_anything_else(data):
    case = data.draw(st.sampled_from(CASES))
    encoded = bytearray(case.encode(_scene()))
    header_or_body = st.integers(0, min(200, len(encoded) - 1)) | st.integers(0, len(encoded) - 1)
    for position, value in data.draw(
        st.lists(st.tuples(header_or_body, st.integers(0, 255)), min_size=1, max_size=6)
    ):
        encoded[position] = value
    with contextlib.suppress(UnreadableFrame):
        image = load_reader(case.reader).read(bytes(encoded))
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(
    case=st.sampled_from(CASES),
    tail=st.binary(max_size=300),
    keep=st.integers(0, 30),
)
def test_noise_after_a_true_beginning_is_refused(case, tail, keep):
    with pytest.raises(UnreadableFrame):
        load_reader(case.reader).read(case.encode(_scene())[:keep] + tail)


def test_settings_are_json_and_name_the_reader(case):
    found = load_reader(case.reader).settings()
    assert json.loads(json.dumps(found)) == found
    assert found["reader"] == case.reader


def test_settings_of_two_readers_differ():
    found = [json.dumps(load_reader(name).settings(), sort_keys=True) for name in READERS]
    assert len(set(found)) == len(READERS)


def test_an_unknown_reader_lists_the_known_ones():
    with pytest.raises(ConfigurationError) as refused:
        load_reader("stil")
    for name in (*READERS, "'stil'", "did you mean still?"):
        assert name in str(refused.value)
