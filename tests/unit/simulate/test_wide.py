"""The wide families: held out whole, drawn alike each time, every effect seen in the pixels."""

from dataclasses import fields, replace

import numpy as np
import pytest

from reprocess.simulate.clouds import cloud_shine
from reprocess.simulate.families import DISJOINT_FIELDS, FAMILIES, SEED_SPAN, TEST
from reprocess.simulate.grid import camera_grid
from reprocess.simulate.render import faint_edge, render, visible
from reprocess.simulate.scene import CloudKind, CloudLamp, FormKind, Lens, Obstacle
from reprocess.simulate.wide import (
    FAMILY_NAMES,
    HELD_OUT,
    HELD_OUT_AURORA,
    HELD_OUT_CAMERA,
    HELD_OUT_CLOUD,
    PLAIN_SHARE,
    RANGES,
    WIDE,
    WIDE_FAMILIES,
    sample_wide_scene,
    scene_of,
)

MANY = 400


@pytest.fixture(scope="module")
def training():
    return [sample_wide_scene(WIDE, number, 64) for number in range(MANY)]


@pytest.mark.parametrize("family", WIDE_FAMILIES.values(), ids=lambda family: family.name)
def test_a_scene_is_drawn_alike_each_time(family):
    one, two = (render(sample_wide_scene(family, 5, 64)) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.label, two.label)
    np.testing.assert_array_equal(one.faint, two.faint)
    assert sample_wide_scene(family, 5, 64) != sample_wide_scene(family, 6, 64)


def test_seeds_of_no_two_families_meet():
    bases = [family.seed_base for family in (*FAMILIES.values(), *WIDE_FAMILIES.values())]
    assert np.diff(sorted(bases)).min() >= SEED_SPAN


@pytest.mark.parametrize("name", DISJOINT_FIELDS)
def test_the_sample_campaign_s_ranges_are_held_out_of_the_wide_training_too(name):
    for low, high in getattr(RANGES, name):
        for other_low, other_high in getattr(TEST, name):
            assert high < other_low or other_high < low, (name, low, high)


def test_no_training_scene_has_what_is_held_out(training):
    assert {scene.camera.lens for scene in training} == set(Lens) - {Lens.STEREOGRAPHIC}
    clouds = {scene.sky.cloud_kind for scene in training if scene.sky.cloud_cover > 0}
    assert clouds == set(CloudKind) - {CloudKind.CELLS}
    kinds = {form.kind for scene in training for form in scene.forms}
    assert kinds == set(FormKind) - {FormKind.SPIRAL}
    assert max(scene.camera.colour_mix for scene in training) <= 0.45


@pytest.mark.parametrize("number", range(20))
def test_every_held_out_scene_has_what_is_held_out(number):
    camera = sample_wide_scene(HELD_OUT_CAMERA, number, 64).camera
    assert camera.lens is Lens.STEREOGRAPHIC
    assert camera.colour_mix >= 0.5
    sky = sample_wide_scene(HELD_OUT_CLOUD, number, 64).sky
    assert sky.cloud_kind is CloudKind.CELLS
    assert sky.cloud_cover > 0
    for family in (HELD_OUT_AURORA, HELD_OUT):
        forms = sample_wide_scene(family, number, 64, empty=False).forms
        assert forms
        assert {form.kind for form in forms} == {FormKind.SPIRAL}


def test_each_effect_is_in_some_training_scene_and_missing_in_another(training):
    effects = {
        "mono": lambda s: s.camera.mono,
        "dark current": lambda s: any(s.camera.dark),
        "banding": lambda s: s.camera.banding_dn > 0,
        "corner glow": lambda s: s.camera.corner_glow_dn > 0,
        "sharpening": lambda s: s.camera.sharpen > 0,
        "captions": lambda s: s.camera.writing > 0,
        "reflections": lambda s: s.camera.ghost > 0,
        "snow": lambda s: s.camera.snow > 0,
        "dust": lambda s: s.camera.dust > 0,
        "buildings and masts": lambda s: any(not o.trees for o in s.sky.obstacles),
        "trees": lambda s: any(o.trees for o in s.sky.obstacles),
        "town": lambda s: bool(s.sky.lights),
        "Moon": lambda s: s.sky.moon_elevation_deg > 0,
        "Moon behind cloud": lambda s: s.sky.aureole > 0 and s.sky.cloud_cover > 0,
        "cloud brightest overhead": lambda s: s.sky.cloud_limb < 0 and s.sky.cloud_cover > 0,
        "lit cloud": lambda s: s.sky.cloud_lit > 0 and s.sky.cloud_cover > 0,
        "towns under cloud": lambda s: bool(s.sky.cloud_lamps),
        "veil": lambda s: s.sky.cloud_kind is CloudKind.SMOOTH and 0 < s.sky.cloud_cover < 0.3,
        "vignetting off the centre": lambda s: any(s.camera.vignetting_center),
        "scattered aurora": lambda s: s.sky.scatter > 0,
        "bright twilight": lambda s: s.sky.sun_elevation_deg > -6,
        "airglow bands": lambda s: s.sky.airglow_wave > 0,
        "Milky Way": lambda s: s.sky.milky_way > 0,
        "red aurora": lambda s: any(f.green < 0.5 for f in s.forms),
        "purple aurora": lambda s: any(f.purple > 0.6 for f in s.forms),
        "arc on the horizon": lambda s: any(abs(f.offset_km) > 600 for f in s.forms),
        "faint": lambda s: any(f.brightness < 0.02 for f in s.forms),
        "empty": lambda s: not s.forms,
        "empty overcast": lambda s: not s.forms and s.sky.cloud_kind is CloudKind.SMOOTH,
    }
    for name, has in effects.items():
        number = sum(bool(has(scene)) for scene in training)
        assert 4 <= number < MANY, (name, number)


def _changed(name, **values):
    return pytest.param(values, id=name)


@pytest.mark.parametrize(
    "camera",
    [
        _changed("lens", lens=Lens.EQUISOLID),
        _changed("mono", mono=True),
        _changed("vignetting off the centre", vignetting_center=(0.4, 0.0), vignetting=0.9),
        _changed("dark current", dark=(6.0, 1.0, 8.0)),
        _changed("banding", banding_dn=2.0),
        _changed("corner glow", corner_glow_dn=30.0),
        _changed("sharpening", sharpen=1.0),
        _changed("captions", writing=4),
        _changed("reflections", ghost=0.2),
        _changed("snow", snow=0.5),
        _changed("dust", dust=30),
    ],
)
def test_each_effect_of_the_camera_changes_pixels(bare, camera):
    _differs(render(bare), render(replace(bare, camera=replace(bare.camera, **camera))))


@pytest.mark.parametrize(
    "sky",
    [
        _changed("smooth cloud", cloud_kind=CloudKind.SMOOTH, cloud_cover=0.9, cloud_light=0.05),
        _changed(
            "limb", cloud_kind=CloudKind.SMOOTH, cloud_cover=0.9, cloud_light=0.05, cloud_limb=-1.0
        ),
        _changed("hole", cloud_kind=CloudKind.HOLE, cloud_cover=0.9, cloud_light=0.05),
        _changed("streaks", cloud_kind=CloudKind.STREAKS, cloud_cover=0.9, cloud_light=0.05),
        _changed("cells", cloud_kind=CloudKind.CELLS, cloud_cover=0.9, cloud_light=0.05),
        _changed("building", obstacles=(Obstacle(40.0, 20.0, 40.0),)),
        _changed("mast", obstacles=(Obstacle(40.0, 2.0, 60.0),)),
        _changed("trees", obstacles=(Obstacle(40.0, 60.0, 30.0, trees=True),)),
        _changed("ground", ground=(0.1, 0.1, 0.1)),
        _changed("twilight", sun_elevation_deg=-5.0, twilight_tint=(1.3, 0.9, 0.8)),
        _changed("Moon", moon_elevation_deg=30.0, moon_phase=1.0),
        _changed(
            "aureole", moon_elevation_deg=30.0, moon_phase=1.0, moon_azimuth_deg=10.0, aureole=0.2
        ),
        _changed("airglow bands", airglow_wave=0.9, airglow=0.05),
        _changed("scattered aurora", scatter=0.3),
    ],
)
def test_each_effect_of_the_sky_changes_pixels(bare, sky):
    _differs(render(bare), render(replace(bare, sky=replace(bare.sky, **sky))))


@pytest.fixture(scope="module")
def bare():
    """A scene with aurora and none of the effects."""
    scene = scene_of("test", 1, 96)
    scene = replace(scene, forms=sample_wide_scene(WIDE, 4, 96, empty=False).forms)
    form = replace(scene.forms[0], brightness=0.4, offset_km=0.0, half_length_km=2500.0)
    camera = replace(scene.camera, read_noise_dn=0.3, shot_noise_dn=0.0)
    sky = replace(scene.sky, cloud_cover=0.0, moon_elevation_deg=-20.0, sun_elevation_deg=-30.0)
    return replace(scene, camera=camera, sky=sky, forms=(form,))


def _differs(before, after):
    moved = np.abs(before.image.astype(int) - after.image.astype(int)).max(axis=2)
    assert (moved > 3).mean() > 0.001


@pytest.mark.parametrize("lens", list(Lens))
def test_every_lens_has_its_horizon_in_one_place_and_an_inverse(lens):
    from reprocess.simulate.grid import radius_of, zenith_of

    zenith = np.linspace(0, 90, 91)
    radius = radius_of(zenith, lens)
    assert radius[0] == 0
    assert radius[-1] == pytest.approx(90.0)
    assert (np.diff(radius) > 0).all()
    np.testing.assert_allclose(zenith_of(radius, lens), zenith, atol=0.02)
    assert (zenith_of(np.array([90.5, 120.0]), lens) > 90).all()


def test_a_mono_camera_has_three_equal_channels(bare):
    image = render(replace(bare, camera=replace(bare.camera, mono=True))).image
    np.testing.assert_array_equal(image[:, :, 0], image[:, :, 1])
    np.testing.assert_array_equal(image[:, :, 0], image[:, :, 2])


def test_a_town_lights_the_cloud_above_it_and_little_else(bare):
    lamp = CloudLamp(azimuth_deg=90.0, distance=1.0, reach=0.5, brightness=4.0, colour=(1, 0.5, 0))
    dark = replace(
        bare.sky, cloud_kind=CloudKind.SMOOTH, cloud_cover=1.0, cloud_light=0.1, cloud_limb=0.0,
        cloud_uneven=0.0, cloud_lit=0.0,
    )  # fmt: skip
    grid = camera_grid(bare.camera, 96)
    added = cloud_shine(replace(dark, cloud_lamps=(lamp,)), grid) - cloud_shine(dark, grid)
    at = np.tan(np.radians(np.minimum(grid.zenith_deg, 88.0)))
    away = np.hypot(at * np.sin(grid.azimuth_rad) - 1.0, at * np.cos(grid.azimuth_rad))
    # By hand: 4 * 0.1 above it, a quarter of that `reach` away, 1 / 289 four times as far.
    assert added[np.argmin(away)] == pytest.approx([0.4, 0.2, 0.0], rel=0.02)
    assert added[np.argmin(np.abs(away - 0.5)), 0] == pytest.approx(0.1, rel=0.05)
    assert added[away > 2.0].max() < 0.4 / 280


def test_scattered_aurora_is_background_not_truth(bare):
    overcast = replace(bare.sky, cloud_kind=CloudKind.SMOOTH, cloud_cover=1.0, cloud_uneven=0.0)
    frame = render(replace(bare, sky=replace(overcast, scatter=0.3)))
    dull = render(replace(bare, sky=overcast))
    assert frame.image.astype(int).mean() > dull.image.astype(int).mean() + 2
    assert not frame.label.any()


def test_nothing_counts_as_aurora_behind_a_building(bare):
    wall = replace(bare.sky, obstacles=(Obstacle(0.0, 180.0, 89.0),))
    assert render(bare).label.any()
    assert not render(replace(bare, sky=wall)).label.any()


def test_the_band_of_doubt_lies_about_the_limit_of_the_truth():
    camera = replace(scene_of("test", 1, 96).camera, read_noise_dn=0.5, shot_noise_dn=0.0)
    # By hand: background 100 DN, so the limit is 12 % of it, 12 DN; the band 8 to 18 DN.
    added = np.array([7.9, 8.1, 11.9, 12.1, 17.9, 18.1], np.float32)
    below = np.full((6, 3), 100.0, np.float32)
    assert visible(added, below, camera).tolist() == [False, False, False, True, True, True]
    assert faint_edge(added, below, camera).tolist() == [False, True, True, True, True, False]


def test_an_unknown_family_is_refused_by_naming_the_known():
    with pytest.raises(ValueError, match="held-out-camera"):
        scene_of("winter", 0, 64)
    assert set(FAMILY_NAMES) == {"training", "test", *WIDE_FAMILIES}


def test_plain_scenes_stay_in_the_mixture(training):
    plain = [s for s in training if s.camera.lens is Lens.EQUIDISTANT and not any(s.camera.dark)
             and s.camera.dome_seed == 0]  # fmt: skip
    assert PLAIN_SHARE * MANY * 0.7 < len(plain) < PLAIN_SHARE * MANY * 1.3
    assert {f.name for f in fields(plain[0])} >= {"camera", "sky", "forms"}
