from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprocess.campaign import EqualAreaLens, EquidistantLens, Fisheye, PolynomialLens
from reprocess.errors import ConfigurationError
from reprocess.geometry.lens import lens_from_settings
from reprocess.geometry.starfit import StarList, fit_stars, refine_lens

TURN: dict[str, Any] = {"center_x_px": 510.0, "center_y_px": 480.0, "north_deg": 130.0}


def seen(lens: Fisheye, n: int = 25, noise_px: float = 0.0, seed: int = 3) -> StarList:
    """Stars all over the sky above 10 degrees as a camera with this lens sees them."""
    rng = np.random.default_rng(seed)
    azimuth = rng.uniform(0, 360, n)
    elevation = np.degrees(np.arcsin(rng.uniform(np.sin(np.radians(10)), 1, n)))
    x, y = lens_from_settings(lens).pixel(azimuth, elevation)  # type: ignore[arg-type]
    x, y = x + rng.normal(0, noise_px, n), y + rng.normal(0, noise_px, n)
    return StarList(tuple(f"s{i}" for i in range(n)), azimuth, elevation, x, y)


LENSES = {
    "equidistant": EquidistantLens(px_per_deg=5.0, east="left", **TURN),
    "polynomial": PolynomialLens(
        model="polynomial", px_per_deg_odd=(5.3, -6e-5), east="left", **TURN
    ),
    "equal-area": EqualAreaLens(model="equal-area", focal_px=300.0, east="right", **TURN),
}


@pytest.mark.parametrize("model", list(LENSES))
def test_noiseless_stars_give_the_lens_back(model: Any) -> None:
    lens = LENSES[model]
    fit = fit_stars(seen(lens), model)
    assert fit.used.all()
    assert fit.residual_px.max() < 1e-3
    assert fit.lens.east == lens.east
    assert fit.lens.center_x_px == pytest.approx(510.0, abs=1e-3)
    assert fit.lens.center_y_px == pytest.approx(480.0, abs=1e-3)
    assert fit.lens.north_deg == pytest.approx(130.0, abs=1e-3)


@settings(max_examples=20)
@given(
    north=st.floats(-180, 180),
    east=st.sampled_from(["left", "right"]),
    wrong=st.sets(st.integers(0, 24), max_size=8),
    seed=st.integers(0, 1000),
)
def test_wrong_stars_are_left_out_whatever_way_the_camera_is_turned(
    north: float, east: Any, wrong: set[int], seed: int
) -> None:
    """Up to a third of the stars wrong by 8 degrees or more; the others within half a pixel."""
    lens = LENSES["polynomial"].model_copy(update={"north_deg": north, "east": east})
    stars = seen(lens, noise_px=0.5, seed=seed)
    rng = np.random.default_rng(seed)
    for i in wrong:
        turn, far = rng.uniform(0, 2 * np.pi), rng.uniform(40.0, 400.0)
        stars.x_px[i] += far * np.cos(turn)
        stars.y_px[i] += far * np.sin(turn)
    fit = fit_stars(stars)
    assert set(np.flatnonzero(~fit.used).tolist()) >= wrong
    assert fit.used.sum() >= 25 - len(wrong) - 2
    assert fit.lens.east == east
    assert abs((fit.lens.north_deg - north + 180) % 360 - 180) < 0.5
    assert fit.median_px < 1.0


def test_standard_errors_are_of_the_size_of_the_errors() -> None:
    """Over 40 skies of 0.5 px noise the true centre lies within 3 stated errors nearly always."""
    within = 0
    for seed in range(40):
        fit = fit_stars(seen(LENSES["equidistant"], noise_px=0.5, seed=seed), "equidistant")
        error = fit.standard_error["center_x_px"]
        assert 0.05 < error < 0.5
        within += abs(fit.lens.center_x_px - 510.0) < 3 * error
    assert within >= 37


def test_too_few_stars_or_stars_of_no_one_lens_are_refused() -> None:
    stars = seen(LENSES["equidistant"], n=5)
    with pytest.raises(ConfigurationError, match="found 5, expected at least 6"):
        fit_stars(stars)
    rng = np.random.default_rng(0)
    noise = seen(LENSES["equidistant"], n=20)
    scattered = StarList(
        noise.name, noise.azimuth_deg, noise.elevation_deg,
        rng.uniform(0, 1000, 20), rng.uniform(0, 1000, 20),
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"only \d+ of 20 agree with one lens"):
        fit_stars(scattered)


def test_stars_along_one_line_do_not_tell_handedness() -> None:
    lens = lens_from_settings(LENSES["equidistant"])  # type: ignore[arg-type]
    azimuth = np.array([40.0] * 4 + [220.0] * 4)
    elevation = np.array([20.0, 40.0, 60.0, 80.0] * 2)
    x, y = lens.pixel(azimuth, elevation)
    with pytest.raises(ConfigurationError, match="mirrored and an unmirrored"):
        fit_stars(StarList(tuple("abcdefgh"), azimuth, elevation, x, y), "equidistant")


def test_refining_from_a_lens_that_is_nearly_right() -> None:
    stars = seen(LENSES["polynomial"], noise_px=0.2)
    start = LENSES["equidistant"].model_copy(update={"center_x_px": 515.0, "north_deg": 128.0})
    fit = refine_lens(stars, start)
    assert fit.median_px < 0.4
    assert fit.lens.center_x_px == pytest.approx(510.0, abs=0.3)
