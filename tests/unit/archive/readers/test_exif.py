"""What a photograph's EXIF tags say."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from reprocess.archive.readers.still import StillReader

SCENE = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))


def _photograph(form="JPEG", **tags):
    exif = Image.Exif()
    exif[271] = "maker"
    ids = {"original": 36867, "subsecond": 37521, "offset": 36881, "exposure": 33434, "iso": 34855}
    exif.get_ifd(0x8769).update({ids[name]: value for name, value in tags.items()})
    file = io.BytesIO()
    SCENE.save(file, form, exif=exif)
    return file.getvalue()


def _header(data):
    (header,) = StillReader().headers(data)
    return header


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_time_exposure_and_sensitivity(form):
    header = _header(
        _photograph(
            form,
            original="2020:12:11 20:09:33",
            subsecond="25",
            exposure=IFDRational(15, 10),
            iso=3200,
        )
    )
    assert header.acquired == np.datetime64("2020-12-11T20:09:33.25", "us")
    assert header.utc_offset_s is None
    assert (header.exposure_s, header.gain) == (1.5, 3200)


def test_the_offset_of_the_clock_is_told_if_the_camera_wrote_it():
    header = _header(_photograph(original="2020:12:11 20:09:33", offset="+01:00"))
    assert header.utc_offset_s == 3600


@pytest.mark.parametrize("original", ["0000:00:00 00:00:00", "2020:13:11 20:09:33", "yesterday"])
def test_a_clock_that_was_never_set_is_no_time(original):
    header = _header(_photograph(original=original))
    assert header.acquired is None


def test_without_tags_nothing_is_known():
    file = io.BytesIO()
    SCENE.save(file, "JPEG")
    header = _header(file.getvalue())
    assert header.acquired is None
    assert math.isnan(header.exposure_s)
    assert math.isnan(header.gain)
