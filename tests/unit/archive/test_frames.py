"""Crop and scale, by numbers that can be worked out by hand."""

import numpy as np
import pytest

from reprocess.archive.frames import FrameBlock, FrameStatus, prepare
from reprocess.campaign import CameraEpoch, Crop
from reprocess.errors import UnreadableFrame


@pytest.fixture
def epoch(make_campaign):
    return make_campaign().camera[0]


def _cropped(epoch, left, top, size) -> CameraEpoch:
    return epoch.model_copy(update={"crop": Crop(left_px=left, top_px=top, size_px=size)})


def _coded():
    """Each pixel of the 64 x 48 image tells its column, its row, and 1."""
    y, x = np.mgrid[:48, :64]
    return np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.uint8)


def test_crop_of_the_processed_size_is_the_stored_pixels(epoch):
    image = _coded()
    found = prepare(image, _cropped(epoch, 8, 16, 32), 32)
    assert np.array_equal(found, image[16:48, 8:40])


def test_crop_is_a_copy(epoch):
    image = _coded()
    found = prepare(image, _cropped(epoch, 8, 16, 32), 32)
    found[:] = 0
    assert np.array_equal(image, _coded())


def test_halving_averages_four_pixels(epoch):
    image = np.zeros((48, 64, 3), np.uint8)
    image[0, 0], image[0, 1], image[1, 0], image[1, 1] = 40, 80, 120, 160
    image[2, 2] = 200
    found = prepare(image, _cropped(epoch, 0, 0, 32), 16)
    assert found[0, 0].tolist() == [100, 100, 100]
    assert found[1, 1].tolist() == [50, 50, 50]
    assert found.sum() == 3 * 150


def test_shrinking_to_a_third_uses_all_nine_pixels(epoch):
    image = np.zeros((48, 64, 3), np.uint8)
    image[0, 0] = 90
    found = prepare(image, _cropped(epoch, 0, 0, 48), 16)
    assert found[0, 0].tolist() == [10, 10, 10]
    assert found.sum() == 30


def test_shrinking_by_no_whole_number_keeps_the_mean(epoch):
    image = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    found = prepare(image, _cropped(epoch, 0, 0, 48), 32)
    assert found.shape == (32, 32, 3)
    assert found.mean() == pytest.approx(image[:, :48].mean(), abs=0.3)


def test_enlarging_is_bilinear(epoch):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 4:] = 100
    found = prepare(image, _cropped(epoch, 0, 0, 8), 16)
    assert found.shape == (16, 16, 3)
    assert found[5, :, 0].tolist() == [0] * 7 + [25, 75] + [100] * 7


@pytest.mark.parametrize(
    ("left", "top", "expected"),
    [(-4, -6, (4, 6)), (40, 20, (0, 0)), (-10, 40, (10, 0))],
)
def test_where_the_crop_sticks_out_the_counts_are_0(epoch, left, top, expected):
    found = prepare(_coded(), _cropped(epoch, left, top, 32), 32)
    y, x = np.mgrid[top : top + 32, left : left + 32]
    inside = (x >= 0) & (x < 64) & (y >= 0) & (y < 48)
    assert np.array_equal(found[:, :, 2], inside.astype(np.uint8))
    assert np.array_equal(found[inside][:, 0], x[inside])
    assert np.array_equal(found[inside][:, 1], y[inside])
    first = np.argwhere(inside)[0]
    assert (first[1], first[0]) == expected


def test_a_crop_beside_the_image_is_black(epoch):
    assert prepare(_coded(), _cropped(epoch, 1000, 1000, 32), 32).max() == 0


def test_wrong_size_names_both(epoch):
    with pytest.raises(UnreadableFrame) as refused:
        prepare(np.zeros((240, 320, 3), np.uint8), epoch, 16)
    assert str(refused.value) == (
        "is 320 x 240 pixels (width x height), camera epoch 20180101T000000Z has 64 x 48"
    )


def test_a_turned_image_is_of_the_wrong_size(epoch):
    with pytest.raises(UnreadableFrame, match="48 x 64"):
        prepare(np.zeros((64, 48, 3), np.uint8), epoch, 16)


def test_stored_flag_values_never_change():
    assert {s.name: s.value for s in FrameStatus} == {"NO_FRAME": 0, "OK": 1, "UNREADABLE": 2}


def _block(slot, seconds, images=2):
    return FrameBlock(
        slot=np.array(slot),
        image=np.zeros((images, 4, 4, 3), np.uint8),
        acquired=np.datetime64("2018-06-01", "us") + np.array(seconds, "timedelta64[s]"),
        epoch=np.zeros(2, np.int64),
    )


def test_a_block_holds_frames_in_order_of_time():
    assert len(_block([0, 1], [5, 65])) == 2
    with pytest.raises(ValueError, match="in order of acquired"):
        _block([0, 1], [65, 5])


def test_a_block_with_an_image_missing_is_an_error():
    with pytest.raises(ValueError, match=r"\[2, 1, 2, 2\]"):
        _block([0, 1], [5, 65], images=1)
