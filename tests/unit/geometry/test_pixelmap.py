from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from reprocess.campaign import CameraEpoch, Campaign, SkymapLens
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import epoch_geometry, geometry_settings
from reprocess.geometry.lens import Equidistant, lens_from_settings
from reprocess.geometry.skymap import build_skymap

LENS = Equidistant(159.5, 119.5, 1.0, 30.0, "left")


def write_pair(folder: Path, width: int = 320, height: int = 240) -> dict[str, Any]:
    """The synthetic epoch's lens as a pair of FITS images, 0 below the horizon."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    azimuth, elevation = LENS.direction(x, y)
    below = elevation <= 0
    for name, plane in (("az", azimuth), ("el", elevation)):
        plane = np.where(below, 0.0, plane).astype(np.float32)
        fits.PrimaryHDU(plane).writeto(folder / f"{name}.fits", overwrite=True)
    return {
        "model": "skymap",
        "azimuth": str(folder / "az.fits"),
        "elevation": str(folder / "el.fits"),
    }


def test_a_pair_of_fits_gives_the_directions_of_the_lens_it_was_made_from(tmp_path: Path) -> None:
    lens = lens_from_settings(SkymapLens.model_validate(write_pair(tmp_path)))
    azimuth = np.array([0.0, 0.01, 90.0, 200.0, 359.99, 45.0])
    elevation = np.array([10.0, 45.0, 30.0, 60.0, 88.0, 5.0])
    x, y = LENS.pixel(azimuth, elevation)
    found_azimuth, found_elevation = lens.direction(x, y)
    turn = (found_azimuth - azimuth + 180) % 360 - 180
    assert np.all(np.abs(turn) * np.cos(np.radians(elevation)) < 0.01)
    assert np.all(np.abs(found_elevation - elevation) < 0.02)
    found_x, found_y = lens.pixel(azimuth, elevation)
    # The azimuth turns fast beside the zenith, where a degree of sky is one pixel.
    assert np.allclose(found_x, x, atol=0.03)
    assert np.allclose(found_y, y, atol=0.03)


def test_inverse_of_the_interpolated_map_is_exact(tmp_path: Path) -> None:
    lens = lens_from_settings(SkymapLens.model_validate(write_pair(tmp_path)))
    x, y = np.meshgrid(np.linspace(100, 220, 40) + 0.3, np.linspace(60, 180, 40) + 0.7)
    back_x, back_y = lens.pixel(*lens.direction(x, y))
    assert np.abs(np.hypot(back_x - x, back_y - y)).max() < 1e-4


def test_no_direction_where_the_map_has_none(tmp_path: Path) -> None:
    lens = lens_from_settings(SkymapLens.model_validate(write_pair(tmp_path)))
    azimuth, elevation = lens.direction([5.0, 159.5, 400.0], [5.0, 119.5, 119.5])
    assert np.isfinite(azimuth).tolist() == [False, True, False]
    assert np.isfinite(elevation).tolist() == [False, True, False]
    x, y = lens.pixel([0.0, np.nan], [np.nan, 45.0])
    assert np.isnan(x).all()
    assert np.isnan(y).all()


@pytest.mark.parametrize(
    ("rotate_deg", "flip", "where"),
    [
        # A direction stored at (x 10, y 20) of 320 x 240 lies, clockwise turned, at …
        (0, "none", (10.0, 20.0)),
        (90, "none", (219.0, 10.0)),
        (180, "none", (309.0, 219.0)),
        (270, "none", (20.0, 309.0)),
        (0, "left-right", (309.0, 20.0)),
        (0, "up-down", (10.0, 219.0)),
        (90, "up-down", (219.0, 309.0)),
    ],
)
def test_turning_the_map(
    tmp_path: Path, rotate_deg: int, flip: str, where: tuple[float, float]
) -> None:
    azimuth = np.full((240, 320), 100.0)
    elevation = np.full((240, 320), 50.0)
    azimuth[20, 10] = 250.0
    fits.PrimaryHDU(azimuth).writeto(tmp_path / "az.fits")
    fits.PrimaryHDU(elevation).writeto(tmp_path / "el.fits")
    lens = lens_from_settings(
        SkymapLens(
            model="skymap",
            azimuth=str(tmp_path / "az.fits"),
            elevation=str(tmp_path / "el.fits"),
            rotate_deg=rotate_deg,  # type: ignore[arg-type]
            flip=flip,  # type: ignore[arg-type]
        )
    )
    assert lens.direction(*where)[0] == pytest.approx(250.0)


def test_skymap_built_from_files_is_that_of_the_lens(
    tmp_path: Path, make_epoch: Callable[..., CameraEpoch]
) -> None:
    formula = {
        "model": "equidistant", "center_x_px": 159.5, "center_y_px": 119.5,
        "px_per_deg": 1.0, "north_deg": 30.0, "east": "left",
    }  # fmt: skip
    limit = {"zenith_max_deg": 88.0}  # the last pixel before the rim has no outer corner
    expected = build_skymap(make_epoch(lens=formula, **limit), 200)
    found = build_skymap(make_epoch(lens=write_pair(tmp_path), **limit), 200)
    assert np.array_equal(found.visible, expected.visible)
    seen = expected.visible
    assert np.nanmax(np.abs(found.elevation_deg - expected.elevation_deg)[seen]) < 0.1
    assert found.solid_angle_sr[seen].sum() == pytest.approx(
        expected.solid_angle_sr[seen].sum(), rel=1e-3
    )


def test_content_of_the_files_is_in_the_fingerprint_and_their_path_is_not(
    tmp_path: Path, make_campaign: Callable[..., Campaign]
) -> None:
    (tmp_path / "b").mkdir()
    first = make_campaign(epoch={"lens": write_pair(tmp_path)})
    second = make_campaign(epoch={"lens": write_pair(tmp_path / "b")})
    before = geometry_settings(first, first.camera[0])
    assert before == geometry_settings(second, second.camera[0])
    shown = epoch_geometry(first, first.camera[0]).skymap.azimuth_deg[50, 50]
    plane = fits.getdata(tmp_path / "az.fits")
    fits.PrimaryHDU((plane + 90.0) % 360.0).writeto(tmp_path / "az.fits", overwrite=True)
    assert geometry_settings(first, first.camera[0]) != before
    # The same campaign, in the same process: what was computed from the old file is not used.
    turned = epoch_geometry(first, first.camera[0]).skymap.azimuth_deg[50, 50]
    assert (turned - shown) % 360.0 == pytest.approx(90.0, abs=0.01)


def test_errors_name_the_file_and_what_was_expected(
    tmp_path: Path, make_epoch: Callable[..., CameraEpoch]
) -> None:
    pair = write_pair(tmp_path)
    with pytest.raises(ConfigurationError, match=r"nothere.*cannot be read"):
        build_skymap(make_epoch(lens=pair | {"azimuth": str(tmp_path / "nothere.fits")}), 64)
    (tmp_path / "text.fits").write_text("no image")
    with pytest.raises(ConfigurationError, match=r"text\.fits: is not a FITS image"):
        build_skymap(make_epoch(lens=pair | {"azimuth": str(tmp_path / "text.fits")}), 64)
    (tmp_path / "text.sav").write_text("no skymap")
    with pytest.raises(ConfigurationError, match=r"text\.sav: is not a U\. Calgary skymap"):
        build_skymap(
            make_epoch(lens={"model": "skymap", "azimuth": str(tmp_path / "text.sav")}), 64
        )
    with pytest.raises(ConfigurationError, match="elevation is missing"):
        build_skymap(make_epoch(lens={k: pair[k] for k in ("model", "azimuth")}), 64)
    write_pair(tmp_path, 300, 240)
    with pytest.raises(ConfigurationError, match="skymap of 300 x 240 pixels, expected 320 x 240"):
        build_skymap(make_epoch(lens=pair), 64)
    fits.PrimaryHDU(np.zeros((10, 10))).writeto(tmp_path / "az.fits", overwrite=True)
    with pytest.raises(ConfigurationError, match="found 300 x 240 pixels, expected 10 x 10"):
        build_skymap(make_epoch(lens=pair), 64)


@pytest.mark.data
def test_calgary_skymap_agrees_with_its_own_positions_on_the_ground(shared_data: Path) -> None:
    """Its latitudes and longitudes at 110 km follow from azimuth and elevation at the site."""
    from scipy.io import readsav

    from reprocess.campaign import Site
    from reprocess.geometry.layer import layer_position

    path = next((shared_data / "themis_gako_skymap").glob("*.sav"))
    with pytest.warns(UserWarning, match="Not able to verify"):
        record = readsav(path)["skymap"][0]
    lens = lens_from_settings(SkymapLens(model="skymap", azimuth=str(path)))
    # Its positions are those of pixel corners: (i, j) lies half a pixel before pixel (i, j).
    corner = np.arange(70, 190, 10)
    x, y = np.meshgrid(corner, corner)
    azimuth, elevation = lens.direction(x - 0.5, y - 0.5)
    site = Site(
        code="gako",
        latitude_deg=float(record["site_map_latitude"]),
        longitude_deg=float(record["site_map_longitude"]),
    )
    latitude, longitude = layer_position(site, azimuth, elevation, 110.0)
    high = elevation > 20.0
    assert high.sum() > 80
    miss_north = (latitude - record["full_map_latitude"][1][y, x])[high]
    miss_east = (longitude - record["full_map_longitude"][1][y, x] + 180) % 360 - 180
    assert np.median(np.abs(miss_north)) < 0.03  # degrees of latitude
    assert np.median(np.abs(miss_east[high])) < 0.06


@pytest.mark.data
def test_poker_flat_pair_is_a_fisheye_with_its_stated_scale(shared_data: Path) -> None:
    """Its header: zenith at (243, 249), 0.00625 rad a pixel."""
    folder = shared_data / "dasc_pkr_20151007"
    lens = lens_from_settings(
        SkymapLens(
            model="skymap",
            azimuth=str(folder / "PKR_DASC_0558_20150213_Az.FIT"),
            elevation=str(folder / "PKR_DASC_0558_20150213_El.FIT"),
        )
    )
    x, y = lens.pixel([0.0, 90.0, 180.0, 270.0], 70.0)
    assert np.mean(x) == pytest.approx(243.0, abs=1.5)
    assert np.mean(y) == pytest.approx(249.0, abs=1.5)
    radius = np.hypot(x - np.mean(x), y - np.mean(y))
    assert np.mean(radius) == pytest.approx(np.radians(20.0) / 0.00625, rel=0.05)
