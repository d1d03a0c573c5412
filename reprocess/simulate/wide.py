"""Families of scenes that differ in kind, not only in range: one to train on, the others held out.

`wide` holds what real all-sky cameras show and the plain families of
`families.py` lack: lenses of several projections, mono and tinted cameras,
dark current, banding, sharpening, captions, reflections, snow and dust on the
dome, buildings, masts and trees, smooth overcast and cloud with a hole, lit by
town, Moon, twilight or the aurora itself, cirrus, bright twilight, airglow
bands, red and purple aurora, arcs low on the horizon.

Three families are held out whole; no scene of `wide` has any of it:

- `held-out-camera`: a stereographic lens on a camera with a response of its own;
- `held-out-cloud`: cloud in small rounded cells;
- `held-out-aurora`: spirals.

`held-out` has all three at once. In every other respect the held-out scenes are
drawn as those of `wide`, with other seeds. All ranges of `wide` keep clear of
those of `families.TEST`, from which the sample campaign is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from reprocess.simulate.families import (
    FAMILIES,
    LED,
    SEED_SPAN,
    SODIUM,
    TRAINING,
    Family,
    sample_camera,
    sample_form,
    sample_forms,
    sample_scene,
    sample_sky,
)
from reprocess.simulate.scene import (
    Camera,
    CloudKind,
    CloudLamp,
    Colour,
    Form,
    FormKind,
    Lens,
    Obstacle,
    Scene,
    Sky,
)

PLAIN_SHARE = 0.3
"""Share of the scenes of `wide` that are as those of `families.TRAINING`, with other seeds."""
EMPTY_SHARE = 0.55

RANGES = replace(
    TRAINING,
    name="wide",
    seed_base=3 * SEED_SPAN,
    disk_fill=((0.60, 0.88), (0.96, 1.30)),
    gain=((0.35, 0.80), (1.25, 3.2)),
    tone=((0.0, 0.70), (0.85, 1.0)),
    airglow=((0.0006, 0.0028), (0.0048, 0.050)),
    read_noise_dn=((0.2, 1.4), (2.2, 7.0)),
    arc_width_km=((4.0, 9.0), (15.0, 36.0)),
    diffuse_width_km=((40.0, 80.0), (120.0, 220.0)),
    patch_km=((35.0, 70.0), (110.0, 200.0)),
    brightness=((0.012, 0.045), (0.085, 0.17), (0.28, 1.6)),
    red=((0.0, 0.10), (0.25, 0.8)),
)
"""The ranges of `wide`; still disjoint from `families.TEST` in every field."""


class Mood(StrEnum):
    """What an aurora-free sky is like."""

    DARK = "dark"
    MOON = "moon"
    TWILIGHT = "twilight"
    FOG = "fog"
    PATCHES = "patches"
    SMOOTH = "smooth"
    HOLE = "hole"
    STREAKS = "streaks"
    CELLS = "cells"


CLOUD_OF = {
    Mood.PATCHES: CloudKind.PATCHES,
    Mood.SMOOTH: CloudKind.SMOOTH,
    Mood.HOLE: CloudKind.HOLE,
    Mood.STREAKS: CloudKind.STREAKS,
    Mood.CELLS: CloudKind.CELLS,
}
WITH_AURORA = {
    Mood.DARK: 0.34, Mood.MOON: 0.14, Mood.TWILIGHT: 0.12, Mood.FOG: 0.08, Mood.PATCHES: 0.10,
    Mood.SMOOTH: 0.10, Mood.HOLE: 0.06, Mood.STREAKS: 0.06,
}  # fmt: skip
WITHOUT = {
    Mood.DARK: 0.10, Mood.MOON: 0.08, Mood.TWILIGHT: 0.19, Mood.FOG: 0.12, Mood.PATCHES: 0.08,
    Mood.SMOOTH: 0.27, Mood.HOLE: 0.10, Mood.STREAKS: 0.06,
}  # fmt: skip


@dataclass(frozen=True)
class WideFamily:
    """What the scenes of a family may hold; ranges are drawn from `ranges`."""

    name: str
    seed_base: int
    ranges: Family
    lenses: tuple[Lens, ...]
    moods: tuple[Mood, ...]
    kinds: tuple[FormKind, ...]
    own_response: bool = False
    """A colour response that no other family has, instead of a random one."""
    plain_share: float = 0.0


TRAINING_LENSES = (Lens.EQUIDISTANT, Lens.EQUISOLID, Lens.BARREL)
TRAINING_MOODS = tuple(mood for mood in Mood if mood is not Mood.CELLS)
TRAINING_KINDS = (FormKind.ARC, FormKind.RAYED_BAND, FormKind.DIFFUSE, FormKind.PULSATING)

WIDE = WideFamily(
    "wide", 3 * SEED_SPAN, RANGES, TRAINING_LENSES, TRAINING_MOODS, TRAINING_KINDS,
    plain_share=PLAIN_SHARE,
)  # fmt: skip
HELD_OUT_CAMERA = replace(
    WIDE, name="held-out-camera", seed_base=4 * SEED_SPAN, lenses=(Lens.STEREOGRAPHIC,),
    own_response=True, plain_share=0.0,
)  # fmt: skip
HELD_OUT_CLOUD = replace(
    WIDE, name="held-out-cloud", seed_base=5 * SEED_SPAN, moods=(Mood.CELLS,), plain_share=0.0
)
HELD_OUT_AURORA = replace(
    WIDE, name="held-out-aurora", seed_base=6 * SEED_SPAN, kinds=(FormKind.SPIRAL,), plain_share=0.0
)
HELD_OUT = replace(
    WIDE, name="held-out", seed_base=7 * SEED_SPAN, lenses=(Lens.STEREOGRAPHIC,),
    moods=(Mood.CELLS,), kinds=(FormKind.SPIRAL,), own_response=True, plain_share=0.0,
)  # fmt: skip

WIDE_FAMILIES = {
    family.name: family
    for family in (WIDE, HELD_OUT_CAMERA, HELD_OUT_CLOUD, HELD_OUT_AURORA, HELD_OUT)
}
FAMILY_NAMES = (*FAMILIES, *WIDE_FAMILIES)


def scene_of(family: str, number: int, size_px: int) -> Scene:
    """Scene number `number` of the family of a name, plain or wide: the same one each time.

    Raises
    ------
    ValueError
        If there is no such family, naming those that there are, or no such number.
    """
    if family in FAMILIES:
        return sample_scene(FAMILIES[family], number, size_px)
    if family not in WIDE_FAMILIES:
        raise ValueError(f"family {family!r} is unknown; expected one of {', '.join(FAMILY_NAMES)}")
    return sample_wide_scene(WIDE_FAMILIES[family], number, size_px)


def sample_wide_scene(
    family: WideFamily, number: int, size_px: int, *, empty: bool | None = None
) -> Scene:
    """Scene number `number` of a wide family.

    Parameters
    ----------
    number : int in [0, 1e9)
    size_px : side of the picture
    empty : True for a sky without aurora, False for one with; None draws 55 % empty
    """
    if not 0 <= number < SEED_SPAN:
        raise ValueError(f"scene number {number}; expected 0 to {SEED_SPAN - 1}")
    seed = family.seed_base + number
    rng = np.random.default_rng([seed, 2])
    without = bool(rng.random() < EMPTY_SHARE) if empty is None else empty
    plain = bool(rng.random() < family.plain_share)
    if plain:
        drawn = sample_scene(replace(TRAINING, seed_base=family.seed_base), number, size_px,
                             empty=without)  # fmt: skip
        return replace(drawn, seed=seed)
    forms = () if without else _forms(family, rng)
    return Scene(
        camera=_camera(family, rng, size_px),
        sky=_sky(family, rng, aurora=bool(forms)),
        forms=forms,
        time_s=float(rng.uniform(0, 600)),
        seed=seed,
    )


def _maybe(rng: np.random.Generator, share: float, low: float, high: float) -> float:
    """A value of a range in a share of the cases, else 0."""
    value = float(rng.uniform(low, high))
    return value if rng.random() < share else 0.0


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _camera(family: WideFamily, rng: np.random.Generator, size_px: int) -> Camera:
    camera = sample_camera(family.ranges, rng, size_px)
    half = size_px / 2.0
    cast = np.exp(rng.normal(0.0, 0.16, 3))
    mono = bool(rng.random() < 0.17)
    if family.own_response:
        # A sensor without an infrared filter: red reaches every channel. No training camera
        # mixes by more than 0.45.
        camera = replace(camera, colour_mix=float(rng.uniform(0.5, 0.65)))
        cast, mono = np.array([1.7, 1.0, 0.75]) * np.exp(rng.normal(0.0, 0.04, 3)), False
    else:
        camera = replace(camera, colour_mix=float(rng.uniform(-0.35, 0.45)))
    purple = rng.random() < 0.35
    return replace(
        camera,
        lens=family.lenses[int(rng.integers(len(family.lenses)))],
        center_x_px=camera.center_x_px + float(rng.normal(0, 0.03)) * half,
        center_y_px=camera.center_y_px + float(rng.normal(0, 0.03)) * half,
        white=(float(cast[0]), float(cast[1]), float(cast[2])),
        mono=mono,
        dark=(float(rng.uniform(0, 9)), float(rng.uniform(0, 3)), float(rng.uniform(0, 12)))
        if purple and not mono
        else (0.0, 0.0, 0.0),
        vignetting=float(rng.uniform(0.0, 0.9)),
        # A camera seldom sits in the middle of its dome.
        vignetting_center=(float(rng.normal(0, 0.08)), float(rng.normal(0, 0.08))),
        # Down to that of pictures which were averaged to a quarter of their pixels.
        shot_noise_dn=_log(rng, 0.002, 0.25),
        hot_pixels=int(_log(rng, 1, 250)),
        banding_dn=_maybe(rng, 0.2, 0.2, 1.8),
        corner_glow_dn=_maybe(rng, 0.15, 4, 40),
        sharpen=_maybe(rng, 0.3, 0.2, 1.3),
        writing=int(_maybe(rng, 0.25, 1, 6)),
        ghost=_maybe(rng, 0.3, 0.01, 0.08),
        snow=_maybe(rng, 0.12, 0.15, 0.6),
        dust=int(_maybe(rng, 0.3, 2, 40)),
        dome_seed=int(rng.integers(1 << 30)),
    )


def _cloud_colour(rng: np.random.Generator) -> Colour:
    """Light of a cloud or of fog: lamps, Moon, twilight, or any faint cast of a camera."""
    kind = int(rng.choice(6, p=(0.28, 0.14, 0.20, 0.12, 0.12, 0.14)))
    base = (
        (1.0, 0.74, 0.42),  # sodium lamps
        LED,
        (0.93, 0.97, 0.92),  # grey
        (0.45, 0.62, 1.0),  # twilight
        (0.86, 1.0, 0.42),  # olive: lamps and aurora behind the cloud
        (0.95, 0.72, 0.85),  # dusk
    )[kind]
    cast = np.asarray(base) * np.exp(rng.normal(0, 0.07, 3))
    return (float(cast[0]), float(cast[1]), float(cast[2]))


def _obstacles(rng: np.random.Generator) -> tuple[Obstacle, ...]:
    found = []
    for _ in range(int(rng.integers(1, 6)) if rng.random() < 0.45 else 0):
        azimuth, kind = float(rng.uniform(0, 360)), rng.random()
        if kind < 0.4:
            width, height = _log(rng, 2, 28), _log(rng, 4, 45)
        elif kind < 0.75:
            width, height = _log(rng, 0.25, 0.9), float(rng.uniform(8, 60))
        else:
            width, height = float(rng.uniform(15, 120)), float(rng.uniform(5, 26))
        found.append(Obstacle(azimuth, width, height, trees=kind >= 0.75))
    return tuple(found)


def _sky(family: WideFamily, rng: np.random.Generator, *, aurora: bool) -> Sky:
    weights = WITH_AURORA if aurora else WITHOUT
    moods = family.moods
    share = np.array([weights.get(mood, 1.0 if len(moods) == 1 else 0.0) for mood in moods])
    mood = moods[int(rng.choice(len(moods), p=share / share.sum()))]
    sky = sample_sky(family.ranges, rng, aurora=aurora)
    sky = replace(
        sky,
        cloud_cover=0.0,
        sun_elevation_deg=-30.0,
        moon_elevation_deg=-20.0,
        airglow_wave=_maybe(rng, 0.2, 0.1, 0.7),
        scatter=_maybe(rng, 0.6, 0.01, 0.12) if aurora else 0.0,
        obstacles=_obstacles(rng),
        ground=_ground(rng),
        airglow_colour=(_log(rng, 0.4, 1.8), _log(rng, 0.7, 1.7), _log(rng, 0.4, 1.9)),
    )
    if mood is Mood.TWILIGHT:
        return _twilight(sky, rng, aurora=aurora)
    if mood is Mood.MOON or (mood in CLOUD_OF and rng.random() < 0.25):
        sky = replace(
            sky,
            moon_azimuth_deg=float(rng.uniform(0, 360)),
            moon_elevation_deg=float(rng.uniform(1, 55)),
            moon_phase=float(rng.uniform(0.2, 1.0)),
            aureole=_log(rng, 0.01, 0.8) if mood is not Mood.MOON or rng.random() < 0.3 else 0.0,
        )
    if mood is Mood.FOG:
        bright = _log(rng, 0.004, 0.05 if aurora else 0.4)
        return replace(
            sky, haze=bright, haze_colour=_cloud_colour(rng), haze_deg=float(rng.uniform(12, 90)),
            star_brightness=sky.star_brightness * float(rng.uniform(0.1, 1.0)),
        )  # fmt: skip
    if mood in CLOUD_OF:
        return _cloudy(sky, CLOUD_OF[mood], rng, aurora=aurora)
    return sky


def _ground(rng: np.random.Generator) -> Colour:
    light = _log(rng, 0.0005, 0.06) if rng.random() < 0.5 else 0.0
    tint = SODIUM if rng.random() < 0.4 else (0.9, 0.95, 1.0)
    return (light * tint[0], light * tint[1], light * tint[2])


def _twilight(sky: Sky, rng: np.random.Generator, *, aurora: bool) -> Sky:
    tint = np.exp(rng.normal(0.0, 0.22, 3)) * (1.0, 0.95, 0.85)
    cloudy = rng.random() < (0.2 if aurora else 0.45)
    kind = (CloudKind.SMOOTH, CloudKind.PATCHES, CloudKind.STREAKS)[int(rng.integers(3))]
    return replace(
        sky,
        sun_elevation_deg=float(rng.uniform(-14, -8.5) if aurora else rng.uniform(-13, -3.5)),
        twilight_tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        cloud_kind=kind,
        cloud_cover=float(rng.uniform(0.3, 1.0)) if cloudy else 0.0,
        cloud_light=_log(rng, 0.002, 0.03),
        cloud_colour=_cloud_colour(rng),
        cloud_uneven=float(rng.uniform(0, 0.8)),
        cloud_lit=0.0,
    )


def _cloudy(sky: Sky, kind: CloudKind, rng: np.random.Generator, *, aurora: bool) -> Sky:
    if aurora:
        # Thin enough, often, for the aurora to be seen through it.
        cover, light = float(rng.uniform(0.15, 0.85)), _log(rng, 0.002, 0.10)
    elif kind is CloudKind.PATCHES:
        cover, light = float(rng.uniform(0.2, 1.25)), _log(rng, 0.002, 0.5)
    else:
        # From a veil that stars shine through to overcast.
        cover, light = float(rng.uniform(0.08, 1.0)), _log(rng, 0.006, 0.9)
    return replace(
        sky,
        cloud_kind=kind,
        cloud_cover=cover,
        cloud_light=light,
        cloud_colour=_cloud_colour(rng),
        # Real overcast is mostly brightest overhead, as broad diffuse aurora is.
        cloud_limb=float(rng.uniform(-1.6, 0.6)),
        cloud_uneven=float(rng.uniform(0.0, 0.9)),
        cloud_scale=_log(rng, 0.4, 4.0),
        cloud_lit=_maybe(rng, 0.65, 0.3, 4.0),
        cloud_lit_azimuth_deg=float(rng.uniform(0, 360)),
        cloud_lit_colour=_cloud_colour(rng),
        cloud_lamps=_cloud_lamps(rng) if rng.random() < 0.5 else (),
    )


def _cloud_lamps(rng: np.random.Generator) -> tuple[CloudLamp, ...]:
    """Towns under the cloud: near or far, of one colour each, seen as local glows."""
    return tuple(
        CloudLamp(
            azimuth_deg=float(rng.uniform(0, 360)),
            distance=_log(rng, 0.3, 8.0),
            reach=_log(rng, 0.6, 8.0),
            brightness=_log(rng, 0.2, 5.0),
            colour=_cloud_colour(rng),
            uneven=float(rng.uniform(0.0, 0.9)),
        )
        for _ in range(int(rng.integers(1, 4)))
    )


def _forms(family: WideFamily, rng: np.random.Generator) -> tuple[Form, ...]:
    if family.kinds == TRAINING_KINDS:
        drawn = sample_forms(family.ranges, rng)
    else:
        kinds = rng.choice(len(family.kinds), int(rng.integers(1, 4)))
        drawn = tuple(
            sample_form(family.ranges, rng, family.kinds[int(i)], float(rng.uniform(0, 360)))
            for i in kinds
        )
    return tuple(_widened(form, rng) for form in drawn)


def _widened(form: Form, rng: np.random.Generator) -> Form:
    if form.kind == FormKind.SPIRAL:
        return replace(
            form,
            half_length_km=float(rng.uniform(60, 220)),
            turns=float(rng.uniform(1.2, 2.6)),
            width_km=float(rng.uniform(6, 16)),
            along_km=float(rng.uniform(-250, 250)),
            offset_km=float(rng.uniform(-250, 250)),
            drift_km_s=0.0,
        )
    low = form.kind != FormKind.PULSATING and rng.random() < 0.25
    if low:
        # Low on the horizon, as the oval seen from the polar cap.
        side = 1.0 if rng.random() < 0.5 else -1.0
        form = replace(form, offset_km=side * float(rng.uniform(420, 950)), turn_km=1200.0,
                       drift_km_s=0.1 * form.drift_km_s)  # fmt: skip
    # Sheets of red light without structure look like cloud lit by a town, and are far rarer.
    curtain = form.kind in (FormKind.ARC, FormKind.RAYED_BAND)
    if rng.random() < (0.15 if curtain else 0.01):
        form = replace(form, green=float(rng.uniform(0.0, 0.45)), red=float(rng.uniform(0.4, 1.2)))
    if rng.random() < 0.12:
        form = replace(form, purple=float(rng.uniform(0.4, 1.2)))
    return form
