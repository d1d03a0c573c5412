"""Crop and scale, by numbers that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from reprocess.archive.frames import (
    FrameBlock,
    FrameStatus,
    declares_levels,
    eight_bit_units,
    join,
    prepare,
    to_eight_bits,
)
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


def test_sixteen_bits_are_cropped_and_scaled_like_eight(epoch):
    image = np.zeros((48, 64, 3), np.uint16)
    image[0, 0], image[0, 1], image[1, 0], image[1, 1] = 40, 80, 60000, 65535
    found = prepare(image, _cropped(epoch, 0, 0, 32), 16)
    assert found.dtype == np.uint16
    assert found[0, 0].tolist() == [31414] * 3
    assert prepare(image, _cropped(epoch, -4, -4, 32), 16).dtype == np.uint16


def _levels(epoch, black, white, response=(1.0, 1.0, 1.0)):
    return epoch.model_copy(
        update={"black_level": black, "white_level": white, "channel_response": response}
    )


def test_black_is_0_white_is_255_and_between_them_the_scaling_is_linear(epoch):
    counts = np.array([0, 300, 301, 305, 1575, 2849, 2850, 65535], np.uint16)
    found = to_eight_bits(np.repeat(counts[None, :, None], 3, 2), _levels(epoch, 300, 2850))
    assert found.dtype == np.uint8
    # 10 counts a step: 301 is 0.1, 305 is 0.5 and rounds up, 1575 is 127.5, 2849 is 254.9
    assert found[0, :, 0].tolist() == [0, 0, 0, 1, 128, 255, 255, 255]


def test_a_channel_twice_as_sensitive_is_halved(epoch):
    counts = np.full((1, 1, 3), 100, np.uint8)
    found = to_eight_bits(counts, _levels(epoch, 0.0, None, (2.0, 1.0, 0.5)))
    assert found[0, 0].tolist() == [50, 100, 200]


def test_without_levels_eight_bits_are_what_they_were(epoch):
    counts = np.random.default_rng(2).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    assert not declares_levels(epoch)
    assert to_eight_bits(counts, epoch) is counts
    assert declares_levels(_levels(epoch, 1.0, None))
    assert declares_levels(_levels(epoch, 0.0, 200.0))
    assert eight_bit_units(_levels(epoch, 300, 2850, (2.0, 1.0, 1.0))).tolist() == [0.05, 0.1, 0.1]


def test_joined_blocks_keep_what_all_of_them_have():
    one, two = _block([0, 1], [5, 65]), _block([2, 3], [125, 185])
    exposed = replace(two, exposure_s=np.array([1, 2], np.float32))
    assert join([one, exposed]).exposure_s is None
    joined = join([exposed, replace(exposed, acquired=exposed.acquired + np.timedelta64(1, "h"))])
    assert joined.exposure_s.tolist() == [1, 2, 1, 2]
    assert joined[np.array([False, True, False, False])].exposure_s.tolist() == [2]


def test_a_block_with_an_exposure_missing_is_an_error():
    with pytest.raises(ValueError, match="must have one length"):
        replace(_block([0, 1], [5, 65]), exposure_s=np.array([1], np.float32))
