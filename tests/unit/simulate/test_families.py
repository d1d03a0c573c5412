"""What is trained on is not what is tested on."""

import pytest

from reprocess.simulate.families import DISJOINT_FIELDS, SEED_SPAN, TEST, TRAINING, sample_scene
from reprocess.simulate.scene import FormKind


@pytest.mark.parametrize("name", DISJOINT_FIELDS)
def test_training_and_test_intervals_do_not_touch(name):
    for low, high in getattr(TRAINING, name):
        assert low < high
        for other_low, other_high in getattr(TEST, name):
            assert high < other_low or other_high < low, (name, low, high, other_low, other_high)


def test_the_fields_that_a_scientist_would_ask_for_are_disjoint():
    assert {
        "disk_fill", "north_deg", "gain", "airglow", "arc_width_km", "fold_km", "brightness",
    } <= set(DISJOINT_FIELDS)  # fmt: skip


def test_seeds_never_meet():
    assert abs(TRAINING.seed_base - TEST.seed_base) >= SEED_SPAN
    with pytest.raises(ValueError, match="scene number"):
        sample_scene(TEST, SEED_SPAN, 96)


def _within(value, intervals):
    return any(low <= value <= high for low, high in intervals)


@pytest.mark.parametrize("family", [TRAINING, TEST], ids=lambda f: f.name)
def test_scenes_stay_within_their_family(family):
    for number in range(40):
        scene = sample_scene(family, number, 96, empty=False)
        assert _within(scene.camera.gain, family.gain)
        assert _within(scene.camera.px_per_deg * 90 / 48, family.disk_fill)
        assert _within(scene.camera.north_deg, family.north_deg)
        assert _within(scene.sky.airglow, family.airglow)
        for form in scene.forms:
            if form.kind in (FormKind.ARC, FormKind.RAYED_BAND):
                assert _within(form.width_km, family.arc_width_km)
                assert _within(form.brightness, family.brightness)


def test_a_scene_is_the_same_each_time_and_unlike_its_neighbour():
    assert sample_scene(TEST, 7, 96) == sample_scene(TEST, 7, 96)
    assert sample_scene(TEST, 7, 96) != sample_scene(TEST, 8, 96)


def test_at_least_two_fifths_of_the_skies_are_empty_of_every_kind():
    skies = [s for s in (sample_scene(TRAINING, i, 96) for i in range(400)) if not s.forms]
    assert len(skies) >= 0.4 * 400
    assert sum(s.sky.moon_elevation_deg > 0 for s in skies) > 20
    assert sum(s.sky.cloud_cover > 0 for s in skies) > 20
    assert sum(s.sky.cloud_cover > 1 for s in skies) > 10
    assert sum(s.sky.sun_elevation_deg > -15 for s in skies) > 20
    assert sum(bool(s.sky.lights) for s in skies) > 20
    assert sum(s.sky.star_brightness > 2 for s in skies) > 20
    assert sum(s.sky.milky_way > 0 for s in skies) > 20
