from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprocess.campaign import EquidistantLens
from reprocess.errors import ConfigurationError
from reprocess.geometry.lens import Equidistant, lens_from_settings

# Zenith at (100, 50), 2 px a degree: 45 degrees from the zenith is 90 px away.
UP_NORTH = Equidistant(100.0, 50.0, 2.0, 0.0, "left")


@pytest.mark.parametrize(
    ("lens", "azimuth", "expected"),
    [
        (UP_NORTH, 0.0, (100.0, -40.0)),  # north is up
        (UP_NORTH, 90.0, (10.0, 50.0)),  # looking up, east is left
        (UP_NORTH, 180.0, (100.0, 140.0)),
        (UP_NORTH, 270.0, (190.0, 50.0)),
        (Equidistant(100.0, 50.0, 2.0, 0.0, "right"), 90.0, (190.0, 50.0)),  # mirrored
        (Equidistant(100.0, 50.0, 2.0, 90.0, "left"), 0.0, (190.0, 50.0)),  # north on the right
        (Equidistant(100.0, 50.0, 2.0, 90.0, "left"), 90.0, (100.0, -40.0)),  # so east is up
        (Equidistant(100.0, 50.0, 2.0, 90.0, "right"), 90.0, (100.0, 140.0)),
    ],
)
def test_the_four_directions_fall_where_the_convention_says(
    lens: Equidistant, azimuth: float, expected: tuple[float, float]
) -> None:
    assert np.allclose(lens.pixel(azimuth, 45.0), expected)
    found_azimuth, found_elevation = lens.direction(*expected)
    assert found_azimuth == pytest.approx(azimuth, abs=1e-9)
    assert found_elevation == pytest.approx(45.0)


def test_zenith_pixel_has_azimuth_zero() -> None:
    azimuth, elevation = UP_NORTH.direction(100.0, 50.0)
    assert (float(azimuth), float(elevation)) == (0.0, 90.0)


def test_no_direction_beyond_180_degrees_and_for_nan() -> None:
    azimuth, elevation = UP_NORTH.direction([460.0, 461.0, np.nan], [50.0, 50.0, 50.0])
    assert np.isfinite(azimuth).tolist() == [True, False, False]
    assert np.isfinite(elevation).tolist() == [True, False, False]


@given(
    azimuth=st.floats(0, 359.999),
    elevation=st.floats(-10, 89.99),
    north=st.floats(-360, 360),
    east=st.sampled_from(["left", "right"]),
    scale=st.floats(0.5, 20),
)
def test_pixel_is_the_inverse_of_direction(
    azimuth: float, elevation: float, north: float, east: str, scale: float
) -> None:
    settings = EquidistantLens.model_validate(
        {
            "center_x_px": 166.6,
            "center_y_px": 127.7,
            "px_per_deg": scale,
            "north_deg": north,
            "east": east,
        }
    )
    lens = lens_from_settings(settings)
    found_azimuth, found_elevation = lens.direction(*lens.pixel(azimuth, elevation))
    assert 0.0 <= found_azimuth < 360.0
    assert abs((found_azimuth - azimuth + 180.0) % 360.0 - 180.0) < 1e-6
    assert abs(found_elevation - elevation) < 1e-9


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'tessar' is unknown.*equidistant"):
        lens_from_settings(SimpleNamespace(model="tessar"))


@pytest.mark.data
def test_kho_stars_fall_where_they_were_seen(kho_folder: Path) -> None:
    """calib.json writes theta = theta0 - az: north_deg = degrees(theta0) + 90 and east left."""
    fit = json.loads((kho_folder / "calib.json").read_text())
    lens = Equidistant(
        center_x_px=fit["cx"],
        center_y_px=fit["cy"],
        px_per_deg=fit["k_px_per_deg"],
        north_deg=np.degrees(fit["theta0_rad"]) + 90.0,
        east="left",
    )
    with (kho_folder / "stars_matched.csv").open() as table:
        stars = list(csv.DictReader(table))
    seen = {key: np.array([float(star[key]) for star in stars]) for key in list(stars[0])[2:]}
    x, y = lens.pixel(seen["az_deg"], seen["alt_deg"])
    distance = np.hypot(x - seen["x_px"], y - seen["y_px"])
    assert len(stars) == fit["n_obs"] == 86
    assert np.median(distance) == pytest.approx(fit["median_residual_px"], abs=0.001)
    # The wrong handedness would be off by tens of pixels.
    mirrored = Equidistant(**{**lens.__dict__, "east": "right"})
    assert np.median(np.hypot(*(np.array(mirrored.pixel(seen["az_deg"], seen["alt_deg"]))
                                - [seen["x_px"], seen["y_px"]]))) > 20  # fmt: skip
