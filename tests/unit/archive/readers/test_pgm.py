"""PGM and PPM: what their headers say, and what is refused and why."""

import gzip

import numpy as np
import pytest

from reprocess.archive.readers.pgm import PgmReader
from reprocess.errors import UnreadableFrame

SCENE = np.arange(30, dtype=np.uint16).reshape(5, 6) * 2000
PIXELS = SCENE.astype(">u2").tobytes()
COMMENTS = (
    b'#"CCD device" /dev/ccdA\n'
    b'#"Exposure options" WIDTH=512 HEIGHT=256 XBIN=2 YBIN=1 XOFFSET=126 YOFFSET=22 MSEC=999\n'
    b'#"Image request start" 2014-03-10 06:00:03.042202 UTC\n'
    b'#"Exposure plus initial readout"    985.04 ms\n'
)


def _pgm(comments=COMMENTS, pixels=PIXELS, size=b"6 5", maxval=b"65535"):
    return b"P5\n" + comments + size + b"\n" + maxval + b"\n" + pixels


def _refusal(data):
    with pytest.raises(UnreadableFrame) as refused:
        PgmReader().read_all(data)
    with pytest.raises(UnreadableFrame):
        PgmReader().headers(data)
    return str(refused.value)


def test_a_themis_header_tells_time_zone_and_exposure():
    (header,) = PgmReader().headers(_pgm())
    assert header.acquired == np.datetime64("2014-03-10T06:00:03.042202", "us")
    assert header.utc_offset_s == 0
    assert header.exposure_s == 0.999
    assert np.isnan(header.gain)


@pytest.mark.parametrize(
    ("comment", "time", "offset"),
    [
        (b"# DATE-OBS 2014-03-10T06:00:03\n", "2014-03-10T06:00:03", None),
        (b"# DATE-OBS = 2014-03-10T06:00:03Z\n", "2014-03-10T06:00:03", 0),
        (b"#Timestamp: 2014-03-10 06:00:03.5+01:00\n", "2014-03-10T06:00:03.5", 3600),
    ],
)
def test_plain_comments_tell_the_time_too(comment, time, offset):
    (header,) = PgmReader().headers(_pgm(comment))
    assert (header.acquired, header.utc_offset_s) == (np.datetime64(time, "us"), offset)


@pytest.mark.parametrize(
    "comment",
    [b"", b'#"Image request start" 2014-02-30 06:00:03 UTC\n', b'#"Image request start" soon\n'],
)
def test_what_is_no_time_is_not_guessed(comment):
    (header,) = PgmReader().headers(_pgm(comment))
    assert header.acquired is None


def test_each_frame_has_its_own_comments():
    later = COMMENTS.replace(b"06:00:03.042202", b"06:00:06.021224")
    data = gzip.compress(_pgm() + _pgm(later))
    times = [str(header.acquired) for header in PgmReader().headers(data)]
    assert times == ["2014-03-10T06:00:03.042202", "2014-03-10T06:00:06.021224"]


def test_counts_are_big_endian_and_not_stretched_to_maxval():
    found = PgmReader().read(_pgm(maxval=b"60000"))
    assert np.array_equal(found[:, :, 1], SCENE)


def test_a_comment_may_stand_between_the_numbers():
    data = b"P5 6# width\n5 # height\n255\n" + bytes(range(30))
    assert PgmReader().read(data)[4, 5].tolist() == [29, 29, 29]


def test_pixels_may_begin_with_a_byte_that_looks_like_a_blank():
    data = b"P5 2 1 255\n" + b"\n5"
    assert PgmReader().read(data)[0, :, 0].tolist() == [10, 53]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_pgm()[:-1], "truncated: 59 bytes of pixels in frame 0, 6 x 5 needs 60"),
        (_pgm() + b"P2\n", "what follows frame 0 is none"),
        (_pgm() + _pgm(size=b"5 6"), "frame 1 has another form than frame 0"),
        (_pgm(maxval=b"65536"), "counts up to 65536"),
        (_pgm(maxval=b"0"), "counts up to 0"),
        (_pgm(size=b"100000 100000"), "declares 100000 x 100000 pixels"),
        (_pgm(size=b"6 x"), "corrupt header of frame 0"),
        (b"P2 1 1 255 7", "not a P5 or P6 image"),
        (gzip.compress(_pgm())[:-9], "truncated gzip"),
        (gzip.compress(_pgm())[:-8] + bytes(8), "corrupt gzip"),
    ],
)
def test_refusals_say_why(data, reason):
    assert reason in _refusal(data)
