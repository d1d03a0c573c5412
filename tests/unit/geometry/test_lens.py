from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reprocess.campaign import CameraEpoch, EqualAreaLens, EquidistantLens, PolynomialLens
from reprocess.errors import ConfigurationError
from reprocess.geometry.lens import EqualArea, Equidistant, OddPolynomial, lens_from_settings
from reprocess.geometry.skymap import build_skymap

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


TURN = {"center_x_px": 1424.0, "center_y_px": 1451.0, "north_deg": -28.0, "east": "left"}


def test_equal_area_lens_gives_equal_areas_to_equal_solid_angles() -> None:
    settings = EqualAreaLens.model_validate({"model": "equal-area", "focal_px": 100.0} | TURN)
    lens = lens_from_settings(settings)
    assert isinstance(lens, EqualArea)
    x, _ = lens.pixel([118.0] * 3, [90.0, 30.0, 0.0])  # theta = -28 - 90 - 118 = 124, any will do
    radius = (x - 1424.0) / np.cos(np.radians(-28.0 - 90.0 - 118.0))
    # The cap to zenith angle 60 is 2 pi (1 - cos 60) = pi sr, half of the hemisphere.
    assert radius[1] ** 2 / radius[2] ** 2 == pytest.approx(0.5)
    assert radius[2] == pytest.approx(100.0 * np.sqrt(2.0))
    assert np.isnan(lens.direction(1424.0 + 201.0, 1451.0)[1])  # r = 2 f is the nadir


@given(
    azimuth=st.floats(0, 359.999),
    elevation=st.floats(0, 89.99),
    east=st.sampled_from(["left", "right"]),
    model=st.sampled_from(
        [
            {"model": "equal-area", "focal_px": 700.0},
            {"model": "polynomial", "px_per_deg_odd": [17.0, -2.1e-4]},
            {"model": "polynomial", "px_per_deg_odd": [16.0, 2.0e-4, -2.0e-8, 1e-12]},
        ]
    ),
)
def test_other_models_are_invertible_down_to_the_horizon(
    azimuth: float, elevation: float, east: str, model: dict[str, object]
) -> None:
    kind = EqualAreaLens if model["model"] == "equal-area" else PolynomialLens
    lens = lens_from_settings(kind.model_validate(model | TURN | {"east": east}))
    found_azimuth, found_elevation = lens.direction(*lens.pixel(azimuth, elevation))
    assert abs((found_azimuth - azimuth + 180.0) % 360.0 - 180.0) < 1e-6
    assert abs(found_elevation - elevation) < 1e-7


def test_a_polynomial_ends_where_its_radius_stops_growing() -> None:
    """r = 17 z - 0.001 z^3 turns at z = sqrt(17 / 0.003) = 75.28 degrees."""
    lens = OddPolynomial(0.0, 0.0, (17.0, -0.001), 90.0, "right")
    assert lens.zenith_limit_deg == pytest.approx(np.sqrt(17.0 / 0.003))
    edge = 17.0 * lens.zenith_limit_deg - 0.001 * lens.zenith_limit_deg**3
    assert np.isnan(lens.direction(edge + 0.01, 0.0)[1])
    assert lens.direction(edge - 1e-9, 0.0)[1] == pytest.approx(
        90 - lens.zenith_limit_deg, abs=0.01
    )
    assert np.isnan(lens.pixel(0.0, 14.0)).all()
    assert np.isfinite(lens.pixel(0.0, 15.0)).all()


def test_the_kho_sony_fit_puts_vega_where_it_was_marked() -> None:
    """Published: r = 17.0034 z - 208.84e-6 z^3; Vega, 32.358 up, marked 941.2 px out."""
    lens = OddPolynomial(0.0, 0.0, (17.00341264513578, -208.84073753528634e-6), 90.0, "right")
    marked = np.hypot(1822 - 1424.9417, 599 - 1452.3851)
    assert lens.pixel(0.0, 32.35828)[0] == pytest.approx(marked, abs=3.8)  # its stated residual


def test_an_epoch_that_sees_beyond_its_polynomial_is_refused(
    make_epoch: Callable[..., CameraEpoch],
) -> None:
    lens = {
        "model": "polynomial", "px_per_deg_odd": [1.0, -6e-5], "center_x_px": 159.5,
        "center_y_px": 119.5, "north_deg": 0.0, "east": "left",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"zenith angle of 74\.5 deg.*zenith_max_deg \(90"):
        build_skymap(make_epoch(lens=lens), 64)
    assert build_skymap(make_epoch(lens=lens, zenith_max_deg=74.0), 64).visible.any()


def test_equidistant_may_leave_its_model_out_and_others_may_not(
    make_epoch: Callable[..., CameraEpoch],
) -> None:
    turn = {"center_x_px": 1.0, "center_y_px": 1.0, "north_deg": 0.0, "east": "left"}
    assert make_epoch(lens=turn | {"px_per_deg": 1.0}).lens.model == "equidistant"
    with pytest.raises(ValidationError, match="px_per_deg"):
        make_epoch(lens=turn | {"px_per_deg_odd": [1.0]})
