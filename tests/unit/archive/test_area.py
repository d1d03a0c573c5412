"""The mean over areas, beside the same mean taken of an image whose pixels are cut up."""

import cv2
import numpy as np
import pytest

from reprocess.archive.area import area_mean


def _cut_up(image, size_px):
    """Each stored pixel as size x size small ones; then whole blocks of n x n of these."""
    n = len(image)
    small = np.repeat(np.repeat(image.astype(np.int64), size_px, 0), size_px, 1)
    sums = small.reshape(size_px, n, size_px, n, 3).sum((1, 3))
    return (2 * sums + n * n) // (2 * n * n)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("n", "size_px"),
    [(2, 1), (3, 2), (7, 7), (8, 7), (12, 8), (15, 4), (16, 4), (31, 13), (20, 19)],
)
def test_every_pixel_is_the_mean_over_its_area_rounded_half_up(n, size_px, dtype):
    rng = np.random.default_rng(n)
    image = rng.integers(0, np.iinfo(dtype).max + 1, (n, n, 3)).astype(dtype)
    found = area_mean(image, size_px)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, _cut_up(image, size_px))


def test_a_half_is_rounded_up():
    image = np.zeros((4, 2, 2, 3), np.uint8)
    image[:, 0, 0] = [[2], [6], [10], [1]]
    found = [area_mean(one, 1)[0, 0, 0] for one in image]
    assert found == [1, 2, 3, 0]  # of 0.5, 1.5, 2.5, 0.25


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_brightest_image_stays_so(dtype):
    white = np.full((4099, 4099, 3), np.iinfo(dtype).max, dtype)
    assert (area_mean(white, 256) == np.iinfo(dtype).max).all()


def test_a_frame_of_a_real_size_is_opencvs_but_for_single_counts():
    image = np.random.default_rng(3).integers(0, 256, (478, 478, 3), dtype=np.uint8)
    theirs = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA).astype(int)
    difference = area_mean(image, 256) - theirs
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) < 10


def test_the_image_is_left_as_it_was():
    image = np.random.default_rng(4).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    before = image.copy()
    area_mean(image, 4)
    np.testing.assert_array_equal(image, before)
