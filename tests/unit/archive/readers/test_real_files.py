"""The readers on files of real cameras; they are not shipped, see the marker `data`."""

from pathlib import Path

import numpy as np
import pytest

from reprocess.archive.pattern import NamePattern
from reprocess.archive.readers.reader import load_reader

DATA = Path(__file__).resolve().parents[5] / "shared" / "data"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images at {DATA}"),
]


def test_a_themis_minute_holds_twenty_frames_three_seconds_apart():
    reader = load_reader("pgm")
    data = (DATA / "themis_gill_20140310/20140310_0600_gill_themis19_full.pgm.gz").read_bytes()
    images, headers = reader.read_all(data), reader.headers(data)
    assert len(images) == len(headers) == 20
    assert {(i.shape, i.dtype.name) for i in images} == {((256, 256, 3), "uint16")}
    steps = np.diff([h.acquired for h in headers]) / np.timedelta64(1, "s")
    assert np.abs(steps - 3).max() < 0.2
    assert str(headers[0].acquired) == "2014-03-10T06:00:00.063119"
    assert {h.exposure_s for h in headers} == {0.999}
    # First pixel and brightest of the first frame, as the file's bytes have them.
    assert images[0][0, 0, 0] == 0x0D8D
    assert images[0].max() == 65535


@pytest.mark.parametrize(
    ("name", "exposure_s"),
    [("0428_20151007_082355.961", 1.0), ("0630_20151007_082359.586", 1.5)],
)
def test_a_dasc_frame_tells_its_name_s_time(name, exposure_s):
    reader = load_reader("fits")
    data = (DATA / f"dasc_pkr_20151007/PKR_DASC_{name}.FITS").read_bytes()
    (header,) = reader.headers(data)
    _, told = NamePattern("PKR_DASC_*_%Y%m%d_%H%M%S.%f.FITS").parse(f"PKR_DASC_{name}.FITS")
    assert header.acquired == np.datetime64(told, "us")
    assert (header.exposure_s, header.gain) == (exposure_s, 12.0)
    assert reader.read(data).shape == (512, 512, 3)


def test_a_trex_name_tells_time_and_exposure():
    pattern = NamePattern("%Y%m%d_%H%M%S_%f_gill_rgb-04_{exposure_ms}ms_*.png")
    names = sorted(path.name for path in (DATA / "trex_rgb_gill").glob("*.png"))
    assert [pattern.told(name)[0] for name in names] == [0.32, 0.32]
    assert [pattern.parse(name)[1] % 1_000_000 for name in names] == [122643, 149606]


def test_a_photograph_of_the_sony_tells_time_exposure_and_sensitivity():
    """EXIF has the beginning of the exposure; the file's name, LYR-Sony-111220_200933, is later."""
    (path,) = (DATA / "kho_sony_20201211").glob("*.jpg")
    (header,) = load_reader("still").headers(path.read_bytes())
    assert str(header.acquired) == "2020-12-11T20:09:13.000000"
    assert header.exposure_s > 0
    assert header.gain > 0
