from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from reprocess.campaign import CameraEpoch
from reprocess.errors import ConfigurationError
from reprocess.geometry.skymap import Skymap, build_skymap, processed_pixel

MakeEpoch = Callable[..., CameraEpoch]


@pytest.fixture
def write_mask(tmp_path: Path) -> Callable[..., str]:
    def write(pixels: np.ndarray, name: str = "mask.png") -> str:
        assert cv2.imwrite(str(tmp_path / name), pixels)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("size_px", [96, 200, 256])
def test_the_hemisphere_is_two_pi(make_epoch: MakeEpoch, size_px: int) -> None:
    skymap = build_skymap(make_epoch(), size_px)
    assert skymap.solid_angle_sr.sum(dtype=np.float64) == pytest.approx(2 * np.pi, rel=2e-3)


def test_a_lens_that_is_no_circle_of_pixels_still_sums_to_its_cap(make_epoch: MakeEpoch) -> None:
    """Down to zenith angle 60 the cap is 2 pi (1 - cos 60) = pi."""
    skymap = build_skymap(make_epoch(zenith_max_deg=60), 256)
    assert skymap.solid_angle_sr.sum(dtype=np.float64) == pytest.approx(np.pi, rel=3e-3)
    assert np.nanmin(skymap.elevation_deg) >= 30.0


def test_solid_angle_of_single_pixels(make_epoch: MakeEpoch) -> None:
    """Equidistant, 1 px a degree: (1 deg)^2 at the zenith, times sin z / z away from it."""
    skymap = build_skymap(make_epoch(), 200)
    square = np.radians(1.0) ** 2
    assert skymap.solid_angle_sr[99, 99] == pytest.approx(square, rel=1e-3)
    zenith = 90.0 - float(skymap.elevation_deg[100, 150])
    expected = square * np.sin(np.radians(zenith)) / np.radians(zenith)
    assert skymap.solid_angle_sr[100, 150] == pytest.approx(expected, rel=1e-3)


def test_directions_are_at_the_centres_of_processed_pixels(make_epoch: MakeEpoch) -> None:
    """Crop 200 at (60, 20) to 100: processed (u, v) is stored (60 + 2u + 0.5, 20 + 2v + 0.5)."""
    skymap = build_skymap(make_epoch(), 100)
    # u = 49, v = 20 is stored (158.5, 60.5): 1 px left and 59 px above the zenith pixel.
    assert skymap.elevation_deg[20, 49] == pytest.approx(90 - np.hypot(1, 59), abs=1e-4)
    assert skymap.azimuth_deg[20, 49] == pytest.approx(np.degrees(np.arctan2(1, 59)), abs=1e-4)


def test_outside_the_zenith_limit_is_nan_and_weightless(make_epoch: MakeEpoch) -> None:
    skymap = build_skymap(make_epoch(), 200)
    corner = (0, 0)
    assert np.isnan(skymap.azimuth_deg[corner])
    assert np.isnan(skymap.elevation_deg[corner])
    assert skymap.solid_angle_sr[corner] == 0.0
    assert not skymap.visible[corner]
    assert not np.isnan(skymap.solid_angle_sr).any()


def test_crop_beyond_the_image_is_sky_but_not_visible(make_epoch: MakeEpoch) -> None:
    """The image's last row is 239, 69.5 px below the zenith: the sky below is cut."""
    epoch = make_epoch(image_height_px=190)
    skymap = build_skymap(epoch, 200)
    row_189, row_190 = 189 - 20, 190 - 20
    assert skymap.visible[row_189, 100]
    assert not skymap.visible[row_190, 100]
    assert np.isfinite(skymap.elevation_deg[row_190, 100])
    assert skymap.solid_angle_sr[row_190, 100] > 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_masked_pixels_are_not_visible(
    make_epoch: MakeEpoch, write_mask: Callable[..., str], channels: int
) -> None:
    sky = np.full((240, 320), 255, np.uint8)
    sky[:, :160] = 0
    pixels = sky if channels == 1 else np.stack([sky] * 3, axis=2)
    if channels == 4:  # opaque everywhere: transparency says nothing about the sky
        pixels = np.concatenate([pixels, np.full((240, 320, 1), 255, np.uint8)], axis=2)
    skymap = build_skymap(make_epoch(mask=write_mask(pixels)), 200)
    assert not skymap.visible[:, :100].any()
    assert skymap.visible[100, 100:190].all()
    assert np.isfinite(skymap.elevation_deg[100, 50])


def test_arrays_are_read_only_and_of_the_stated_kinds(make_epoch: MakeEpoch) -> None:
    skymap = build_skymap(make_epoch(), 64)
    for name, kind in Skymap.__annotations__.items():
        array = getattr(skymap, name)
        assert array.shape == (64, 64), name
        assert array.dtype == (np.bool_ if "bool" in kind else np.float32), name
        assert not array.flags.writeable, name


def test_a_mask_of_another_size_names_both(
    make_epoch: MakeEpoch, write_mask: Callable[..., str]
) -> None:
    epoch = make_epoch(mask=write_mask(np.full((100, 100), 255, np.uint8)))
    with pytest.raises(ConfigurationError, match=r"found 100 x 100 .* expected 320 x 240"):
        build_skymap(epoch, 64)


def test_a_mask_that_is_missing_or_no_image_says_so(make_epoch: MakeEpoch, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        build_skymap(make_epoch(mask=str(tmp_path / "absent.png")), 64)
    for name, content in [("empty.png", b""), ("text.png", b"no image")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError, match="is not an image"):
            build_skymap(make_epoch(mask=str(tmp_path / name)), 64)


def test_a_crop_without_sky_says_so(make_epoch: MakeEpoch) -> None:
    with pytest.raises(ConfigurationError, match="no visible sky"):
        build_skymap(make_epoch(crop={"left_px": 900, "top_px": 0, "size_px": 50}), 64)


def test_horizon_table_hides_what_lies_below_it(make_epoch: Callable[..., CameraEpoch]) -> None:
    """10 degrees in the north rising to 30 in the east, and back to 10 through south and west."""
    table = [[0.0, 10.0], [90.0, 30.0], [180.0, 10.0]]
    skymap = build_skymap(make_epoch(horizon=table), 200)
    free = build_skymap(make_epoch(), 200)
    azimuth, elevation = free.azimuth_deg.astype(float), free.elevation_deg.astype(float)
    with np.errstate(invalid="ignore"):
        east = np.abs(azimuth - 45.0) < 1.0
        west = np.abs(azimuth - 270.0) < 1.0
        assert not skymap.visible[east & (elevation < 19.0)].any()
        assert skymap.visible[east & (elevation > 21.0)].all()
        assert not skymap.visible[west & (elevation < 9.5)].any()
        assert skymap.visible[west & (elevation > 10.5)].all()
    assert np.array_equal(skymap.azimuth_deg, free.azimuth_deg, equal_nan=True)


def test_rectangles_and_polygons_hide_their_pixels(make_epoch: Callable[..., CameraEpoch]) -> None:
    """Stored pixel (x, y) is processed pixel (x - 60, y - 20) in this epoch."""
    text = [[120, 60], [140, 70]]
    mast = [[150, 100], [170, 140], [130, 140]]
    skymap = build_skymap(make_epoch(hide=[text, mast]), 200)
    free = build_skymap(make_epoch(), 200)
    gone = free.visible & ~skymap.visible
    rows, columns = np.nonzero(gone)
    x, y = columns + 60, rows + 20
    in_text = (x >= 120) & (x <= 140) & (y >= 60) & (y <= 70)
    in_mast = (y >= 100) & (y < 140) & (np.abs(x - 150) <= (y - 100) / 2)
    assert np.all(in_text | in_mast)
    assert in_text.sum() == 21 * 11
    assert in_mast.sum() == pytest.approx(40 * 40 / 2, rel=0.05)
    swapped = build_skymap(make_epoch(hide=[[[140, 60], [120, 70]], mast]), 200)
    assert np.array_equal(swapped.visible, skymap.visible)


@pytest.mark.parametrize("east", ["left", "right"])
def test_a_direction_falls_where_its_pixel_looks(make_epoch: MakeEpoch, east: str) -> None:
    lens = {"center_x_px": 98.0, "center_y_px": 101.5, "px_per_deg": 1.1, "north_deg": 20}
    epoch = make_epoch(lens={**lens, "east": east})
    skymap = build_skymap(epoch, 64)
    seen = np.isfinite(skymap.azimuth_deg)
    u, v = processed_pixel(
        epoch, 64, skymap.azimuth_deg[seen].astype(float), skymap.elevation_deg[seen].astype(float)
    )
    row, column = np.nonzero(seen)
    assert np.abs(u - column).max() < 1e-3
    assert np.abs(v - row).max() < 1e-3
