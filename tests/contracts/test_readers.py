"""What every reader promises, run over all of them."""

import contextlib
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from astropy.io import fits
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


def _pnm(image, header=b""):
    """P5 or P6; two bytes a sample, high byte first, for uint16."""
    magic = b"P5" if image.ndim == 2 else b"P6"
    size = f"{image.shape[1]} {image.shape[0]}\n{np.iinfo(image.dtype).max}\n".encode()
    return magic + b"\n" + header + size + image.astype(image.dtype.newbyteorder(">")).tobytes()


def _fits(image, form=fits.PrimaryHDU, **cards):
    planes = np.moveaxis(image, -1, 0) if image.ndim == 3 else image
    hdu = form(planes)
    for key, value in cards.items():
        hdu.header[key.replace("_", "-")] = value
    if form is not fits.PrimaryHDU:
        hdu = fits.HDUList([fits.PrimaryHDU(), hdu])
    file = io.BytesIO()
    hdu.writeto(file)
    return file.getvalue()


def _h5(*images, stamps=None):
    import h5py

    file = io.BytesIO()
    stored = np.stack([i[:, :, None] if i.ndim == 2 else i for i in images], axis=-1)
    times = stamps or [f"2021-10-30 06:05:{3 * i:02d}.149606 UTC" for i in range(len(images))]
    with h5py.File(file, "w", track_order=False) as h5:
        h5.create_dataset("data/images", data=stored)
        h5.create_dataset("data/timestamp", data=np.array(times, "S32"))
    return file.getvalue()


def _gz(encode):
    return lambda image: gzip.compress(encode(image), mtime=0)


CASES = [
    Case("still", "jpeg", _pillow("JPEG", quality=95), lossless=False),
    Case("still", "jpeg-progressive", _pillow("JPEG", progressive=True), lossless=False),
    Case("still", "png", _pillow("PNG")),
    Case("still", "tiff", _pillow("TIFF")),
    Case("still", "tiff-lzw", _pillow("TIFF", compression="tiff_lzw")),
    Case("npy", "npy", _npy),
    Case("pgm", "pnm", _pnm),
    Case("pgm", "pnm-gz", _gz(_pnm)),
    Case("fits", "fits", _fits),
    Case("fits", "fits-extension", lambda image: _fits(image, fits.ImageHDU)),
    Case("fits", "fits-gz", _gz(_fits)),
    Case("calgary_h5", "h5", _h5),
]
DEEP = [
    case for case in CASES if case.form in ("png", "tiff", "tiff-lzw") or case.reader != "still"
]
MANY = {
    "pgm": lambda images: b"".join(_pnm(image) for image in images),
    "calgary_h5": lambda images: _h5(*images),
}
"""How several frames are put into one file, for the formats that can."""


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


@pytest.mark.parametrize("case", DEEP, ids=lambda case: case.form)
@pytest.mark.parametrize("grey", [False, True])
def test_16_bit_counts_come_out_as_they_are(case, grey):
    scene = _scene().astype(np.uint16) * 257 - 3
    scene = scene[:, :, 0] if grey else scene
    if case.reader == "still" and not grey:  # Pillow has no 16-bit colour
        suffix = ".png" if case.form == "png" else ".tiff"
        data = cv2.imencode(suffix, scene[:, :, ::-1])[1].tobytes()
    else:
        data = case.encode(scene)
    image = load_reader(case.reader).read(data)
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    assert image.flags.c_contiguous
    expected = np.repeat(scene[:, :, None], 3, axis=2) if grey else scene
    assert np.array_equal(image, expected)


def test_read_all_of_a_file_of_one_is_read(case):
    data = case.encode(_scene())
    reader = load_reader(case.reader)
    (image,) = reader.read_all(data)
    assert np.array_equal(image, reader.read(data))
    assert len(reader.headers(data)) == 1


@pytest.mark.parametrize("name", MANY)
def test_a_file_of_many_frames_gives_each_in_order(name):
    scenes = [np.roll(_scene(), 5 * i, axis=1) for i in range(4)]
    reader = load_reader(name)
    data = MANY[name](scenes)
    images = reader.read_all(data)
    assert len(images) == len(reader.headers(data)) == 4
    for image, scene in zip(images, scenes, strict=True):
        assert np.array_equal(image, scene)
        assert image.flags.c_contiguous
    with pytest.raises(UnreadableFrame, match="holds 4 frames, expected one"):
        reader.read(data)


def test_headers_never_raise_anything_but_a_refusal(case):
    reader = load_reader(case.reader)
    for data in (b"", b"\x00", b"hello, no image\n", bytes(5000), case.encode(_scene())[:50]):
        with contextlib.suppress(UnreadableFrame):
            for header in reader.headers(data):
                assert header.acquired is None


def test_a_reader_says_where_its_times_are_and_what_it_usually_holds(case):
    reader = load_reader(case.reader)
    assert reader.tells_time in (None, "header", "exif")
    assert reader.channels in ("rgb", "mono")


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
