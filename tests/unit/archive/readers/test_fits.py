"""FITS: what headers say, orders of rows and planes, and what is refused and why."""

import io
import math

import numpy as np
import pytest
from astropy.io import fits

from reprocess.archive.readers.fits import FitsReader
from reprocess.errors import UnreadableFrame

COUNTS = np.arange(30, dtype=np.int16).reshape(5, 6) + 340


def _fits(values=COUNTS, **cards):
    hdu = fits.PrimaryHDU(values)
    for key, value in cards.items():
        hdu.header[key.replace("_", "-")] = value
    file = io.BytesIO()
    hdu.writeto(file)
    return file.getvalue()


def _header(**cards):
    (header,) = FitsReader().headers(_fits(**cards))
    return header


@pytest.mark.parametrize(
    ("cards", "time", "offset"),
    [
        ({"DATE_OBS": "2015-10-07T08:23:55.961"}, "2015-10-07T08:23:55.961", None),
        ({"DATE_OBS": "2015-10-07T08:23:55Z"}, "2015-10-07T08:23:55", 0),
        ({"DATE_OBS": "2015-10-07", "TIME_OBS": "08:23:55.5"}, "2015-10-07T08:23:55.5", None),
        ({"DATE_OBS": "2015-10-07", "UT": "08:23:55"}, "2015-10-07T08:23:55", None),
        ({"OBSDATE": "2015-10-07", "OBSSTART": "08:23:55.961"}, "2015-10-07T08:23:55.961", None),
    ],
)
def test_times(cards, time, offset):
    header = _header(**cards)
    assert (header.acquired, header.utc_offset_s) == (np.datetime64(time, "us"), offset)


@pytest.mark.parametrize("cards", [{}, {"DATE_OBS": "2015-10-07"}, {"DATE_OBS": "07/10/15"}])
def test_what_is_no_time_is_not_guessed(cards):
    assert _header(**cards).acquired is None


def test_exposure_and_gain():
    dasc = _header(EXPTIME=1.5, PAGAIN=2.4, EMGAIN=5)
    assert (dasc.exposure_s, dasc.gain) == (1.5, 12.0)
    assert _header(EXPOSURE=10, GAIN=3.0, EMGAIN=5).exposure_s == 10
    assert _header(GAIN=3.0, EMGAIN=5).gain == 3
    nothing = _header(EXPTIME="long", GAIN=-1)
    assert math.isnan(nothing.exposure_s)
    assert math.isnan(nothing.gain)


def test_rows_stay_in_the_order_of_the_file():
    found = FitsReader().read(_fits())
    assert found.dtype == np.uint16
    assert np.array_equal(found[:, :, 2], COUNTS)


def test_three_planes_are_red_green_blue():
    found = FitsReader().read(_fits(np.stack([COUNTS, COUNTS + 1, COUNTS + 2])))
    assert found[0, 0].tolist() == [340, 341, 342]


def test_unsigned_16_bits_are_read_by_their_zero_point():
    found = FitsReader().read(_fits(COUNTS.astype(np.uint16) + 65000))
    assert found.max() == 65369


def test_tile_compression():
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.tile(COUNTS, (4, 4)))]).writeto(file)
    assert np.array_equal(FitsReader().read(file.getvalue())[:, :, 0], np.tile(COUNTS, (4, 4)))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (COUNTS.astype(np.float32), "float32 values, expected integer counts"),
        (COUNTS - 400, "counts from -60 to -31, expected 0 to 65535"),
        (COUNTS.astype(np.int32) + 65535, "expected 0 to 65535"),
        (np.zeros((4, 5, 6), np.int16), r"has shape \(4, 5, 6\)"),
        (np.zeros(8, np.int16), "without an image"),
    ],
)
def test_other_images_are_refused(values, reason):
    with pytest.raises(UnreadableFrame, match=reason):
        FitsReader().read(_fits(values))


def test_a_file_shorter_than_its_header_promises_is_refused():
    data = _fits(np.zeros((60, 60), np.int16))
    with pytest.raises(UnreadableFrame, match="truncated"):
        FitsReader().read(data[:-2880])
