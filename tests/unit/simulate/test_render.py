"""Rendered frames hold what their scene says."""

from dataclasses import replace

import numpy as np
import pytest

from reprocess.simulate.aurora import (
    DEG_PER_MIN_OVERHEAD,
    brightness_at,
    brightness_change_per_min,
    offset_at,
)
from reprocess.simulate.families import TEST, sample_form, sample_scene
from reprocess.simulate.grid import camera_grid, pixel_of, texture
from reprocess.simulate.render import encode_jpeg, render
from reprocess.simulate.scene import FormKind, Sky

DARK = Sky(
    latitude_deg=-74.62, sidereal_deg=30.0, airglow=0.004, airglow_colour=(0.9, 1.1, 1.0),
    star_seed=5, star_brightness=0.0, milky_way=0.0, skyline_deg=0.0,
)  # fmt: skip


def _arc(**changes):
    drawn = sample_form(TEST, np.random.default_rng(2), FormKind.ARC, 0.0)
    plain = {
        "offset_km": 0.0, "brightness": 0.25, "half_length_km": 2500.0, "ray_depth": 0.0,
        "curvature_1_km": 0.0, "fold_km": 0.0, "drift_km_s": 0.0, "swing": 0.0, "red": 0.0,
    }  # fmt: skip
    return replace(drawn, **(plain | changes))


@pytest.fixture(scope="module")
def scene():
    drawn = sample_scene(TEST, 1, 160, empty=True)
    camera = replace(drawn.camera, east_right=False, north_deg=0.0, hot_pixels=0)
    return replace(drawn, camera=camera, sky=DARK)


def test_rendering_is_a_pure_function_of_the_scene():
    drawn = sample_scene(TEST, 3, 96, empty=False)
    one, two = render(drawn), render(drawn)
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.label, two.label)
    assert encode_jpeg(one.image) == encode_jpeg(two.image)
    other = render(replace(drawn, seed=drawn.seed + 1))
    assert (other.image != one.image).any()
    np.testing.assert_array_equal(other.label, one.label)


def test_an_empty_sky_has_no_truth(scene):
    frame = render(scene)
    assert frame.image.shape == (160, 160, 3)
    assert not frame.label.any()
    assert frame.peak_dn == ()


def test_an_arc_overhead_is_green_and_labelled_where_it_is_brighter(scene):
    lit = render(replace(scene, forms=(_arc(),)))
    dark = render(scene)
    added = lit.image.astype(int) - dark.image.astype(int)
    inside = lit.label == 1
    assert 0.03 < inside.mean() < 0.4
    assert added[inside][:, 1].mean() > 1.3 * added[inside][:, 0].mean() > 0
    assert added[inside][:, 1].mean() > 10
    assert abs(added[lit.label == 0].mean()) < 2
    assert lit.area[0] == pytest.approx(inside.mean(), abs=0.02)


def test_aurora_too_faint_to_see_is_not_in_the_truth(scene):
    assert not render(replace(scene, forms=(_arc(brightness=0.0005),))).label.any()


def test_overcast_takes_aurora_out_of_the_truth(scene):
    overcast = replace(scene.sky, cloud_cover=1.4, cloud_light=0.02)
    clear = (render(replace(scene, forms=(_arc(),))).label > 0).sum()
    hidden = (render(replace(scene, sky=overcast, forms=(_arc(),))).label > 0).sum()
    assert hidden < 0.05 * clear


def test_labels_name_the_brightest_form(scene):
    frame = render(
        replace(scene, forms=(_arc(offset_km=-80.0), _arc(offset_km=80.0, brightness=0.18)))
    )
    assert set(np.unique(frame.label)) == {0, 1, 2}
    # The normal points north, which is up: the second form lies further up.
    rows = np.arange(160)[:, None] * np.ones((1, 160))
    assert rows[frame.label == 2].mean() < rows[frame.label == 1].mean()


def test_a_drifting_form_moves_as_fast_as_the_truth_says(scene):
    moving = _arc(offset_km=0.0, drift_km_s=0.4)
    rows = np.arange(160)[:, None] * np.ones((1, 160))
    middle = slice(70, 90)

    def where(time_s):
        label = render(replace(scene, forms=(moving,), time_s=time_s)).label[:, middle]
        return rows[:, middle][label == 1].mean()

    moved_deg = (where(0.0) - where(60.0)) / scene.camera.px_per_deg
    assert moved_deg == pytest.approx(0.4 * DEG_PER_MIN_OVERHEAD, rel=0.15)


def test_forms_turn_back_instead_of_leaving():
    form = _arc(offset_km=0.0, drift_km_s=1.0, turn_km=300.0)
    assert offset_at(form, 100.0) == pytest.approx(100.0)
    assert offset_at(form, 400.0) == pytest.approx(200.0)
    assert offset_at(form, 900.0) == pytest.approx(-300.0)


def test_brightness_change_is_the_derivative_of_the_brightness():
    form = _arc(swing=0.4, period_s=500.0, phase=0.3)
    step = 0.1
    for time in (0.0, 130.0, 400.0):
        slope = (brightness_at(form, time + step) - brightness_at(form, time - step)) / (2 * step)
        expected = 60.0 * slope / brightness_at(form, time)
        assert brightness_change_per_min(form, time) == pytest.approx(expected, rel=1e-3)


def test_stars_turn_about_the_celestial_pole(scene):
    camera = replace(scene.camera, read_noise_dn=0.0, shot_noise_dn=0.0)
    bright = replace(scene.sky, star_brightness=30.0)

    def frame(sidereal_deg):
        sky = replace(bright, sidereal_deg=sidereal_deg)
        return render(replace(scene, camera=camera, sky=sky)).image.astype(int).max(axis=2)

    first, later = frame(0.0), frame(30.0)
    assert (np.abs(first - later) > 40).sum() > 20
    # A full turn of the sky brings every star back.
    np.testing.assert_array_equal(first, frame(360.0))


def test_moon_stands_where_its_direction_says(scene):
    sky = replace(scene.sky, moon_azimuth_deg=90.0, moon_elevation_deg=40.0, moon_phase=1.0)
    image = render(replace(scene, sky=sky)).image.astype(int).sum(axis=2)
    row, column = np.unravel_index(image.argmax(), image.shape)
    x, y = pixel_of(scene.camera, np.radians(np.array([90.0])), np.array([50.0]))
    # North up and east left: the Moon in the east is on the left.
    assert x[0] < scene.camera.center_x_px - 20
    assert np.hypot(column - x[0], row - y[0]) < 4


@pytest.mark.parametrize("east_right", [True, False])
def test_grid_and_pixel_of_are_inverse(scene, east_right):
    camera = replace(scene.camera, east_right=east_right, north_deg=311.0)
    grid = camera_grid(camera, 160)
    x, y = pixel_of(camera, grid.azimuth_rad, grid.zenith_deg)
    rows, columns = np.nonzero(grid.inside)
    assert np.abs(x - columns).max() < 1e-2
    assert np.abs(y - rows).max() < 1e-2


def test_outside_the_disk_is_the_surround(scene):
    camera = replace(
        scene.camera, surround=(7.0, 8.0, 9.0), read_noise_dn=0.0, shot_noise_dn=0.0, flare=0.0
    )
    image = render(replace(scene, camera=camera, forms=(_arc(),))).image
    assert image[0, 0].tolist() == [7, 8, 9]


def test_texture_is_periodic_uniform_and_repeatable():
    field = texture(3)
    assert field.min() == 0.0
    assert field.max() == 1.0
    assert field.mean() == pytest.approx(0.5, abs=1e-3)
    assert np.abs(field[0] - field[-1]).mean() < 3 * np.abs(field[0] - field[1]).mean() + 1e-6
    np.testing.assert_array_equal(field, texture.__wrapped__(3))
