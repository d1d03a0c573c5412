"""Two families of scenes: one to train on, one to test on.

A family is a set of ranges; each range is a union of intervals. For every
field in `DISJOINT_FIELDS` the training and the test intervals do not touch
(the test ones lie in gaps of the training ones), and the seeds of the two
families never meet, so no test scene can be a training scene or a near copy:
lens and orientation, gain and tone, background, and the sizes and brightness
of the auroral forms all differ. Clouds, Moon and Sun are not separated: every
camera has them. Training by random rotation and gain does blur the separation
of `north_deg` and `gain`, and the network card says so.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from reprocess.simulate.scene import Camera, Form, FormKind, Light, Scene, Sky

Intervals = tuple[tuple[float, float], ...]
SEED_SPAN = 1_000_000_000
SODIUM = (1.0, 0.62, 0.25)
LED = (0.85, 0.92, 1.0)


@dataclass(frozen=True)
class Family:
    """Ranges from which scenes are drawn."""

    name: str
    seed_base: int
    disk_fill: Intervals
    """Radius of the sky disk over half the picture's size."""
    north_deg: Intervals
    gain: Intervals
    tone: Intervals
    airglow: Intervals
    read_noise_dn: Intervals
    arc_width_km: Intervals
    diffuse_width_km: Intervals
    fold_km: Intervals
    ray_km: Intervals
    patch_km: Intervals
    brightness: Intervals
    red: Intervals
    text_share: float


TRAINING = Family(
    name="training",
    seed_base=1 * SEED_SPAN,
    disk_fill=((0.70, 0.88), (0.96, 1.08)),
    north_deg=((0.0, 290.0), (330.0, 360.0)),
    gain=((0.45, 0.80), (1.25, 2.4)),
    tone=((0.15, 0.70), (0.85, 1.0)),
    airglow=((0.0010, 0.0028), (0.0048, 0.040)),
    read_noise_dn=((0.6, 1.4), (2.2, 5.0)),
    arc_width_km=((5.0, 9.0), (15.0, 32.0)),
    diffuse_width_km=((50.0, 80.0), (120.0, 220.0)),
    fold_km=((0.0, 14.0), (36.0, 110.0)),
    ray_km=((5.0, 9.0), (16.0, 30.0)),
    patch_km=((45.0, 70.0), (110.0, 180.0)),
    brightness=((0.018, 0.045), (0.085, 0.17), (0.28, 1.0)),
    red=((0.0, 0.10), (0.25, 0.55)),
    text_share=0.25,
)

TEST = Family(
    name="test",
    seed_base=2 * SEED_SPAN,
    disk_fill=((0.90, 0.94),),
    north_deg=((295.0, 325.0),),
    gain=((0.90, 1.15),),
    tone=((0.74, 0.82),),
    airglow=((0.0031, 0.0044),),
    read_noise_dn=((1.6, 2.0),),
    arc_width_km=((10.0, 14.0),),
    diffuse_width_km=((86.0, 112.0),),
    fold_km=((16.0, 33.0),),
    ray_km=((10.0, 15.0),),
    patch_km=((76.0, 104.0),),
    brightness=((0.05, 0.08), (0.18, 0.27)),
    red=((0.12, 0.22),),
    text_share=0.0,
)

FAMILIES = {family.name: family for family in (TRAINING, TEST)}
DISJOINT_FIELDS = tuple(
    f.name for f in fields(Family) if f.name not in ("name", "seed_base", "text_share")
)


def draw(intervals: Intervals, rng: np.random.Generator, *, log: bool = False) -> float:
    """One value from a union of intervals, intervals weighted alike."""
    low, high = intervals[int(rng.integers(len(intervals)))]
    if log:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))


def sample_scene(family: Family, number: int, size_px: int, *, empty: bool | None = None) -> Scene:
    """Scene number `number` of a family: the same one each time.

    Parameters
    ----------
    number : int in [0, 1e9)
    size_px : side of the picture
    empty : True for a sky without aurora, False for one with; None draws 45 % empty
    """
    if not 0 <= number < SEED_SPAN:
        raise ValueError(f"scene number {number}; expected 0 to {SEED_SPAN - 1}")
    seed = family.seed_base + number
    rng = np.random.default_rng([seed, 1])
    without = bool(rng.random() < 0.45)
    forms: tuple[Form, ...] = ()
    if not (without if empty is None else empty):
        forms = sample_forms(family, rng)
    return Scene(
        camera=sample_camera(family, rng, size_px),
        sky=sample_sky(family, rng, aurora=bool(forms)),
        forms=forms,
        time_s=float(rng.uniform(0, 3600)),
        seed=seed,
    )


def sample_camera(family: Family, rng: np.random.Generator, size_px: int) -> Camera:
    """A camera of a family."""
    half = size_px / 2.0
    grey = float(rng.uniform(0, 14)) if rng.random() < 0.3 else float(rng.uniform(0, 4))
    return Camera(
        size_px=size_px,
        center_x_px=half - 0.5 + float(rng.uniform(-0.04, 0.04)) * half,
        center_y_px=half - 0.5 + float(rng.uniform(-0.04, 0.04)) * half,
        px_per_deg=draw(family.disk_fill, rng) * half / 90.0,
        north_deg=draw(family.north_deg, rng),
        east_right=bool(rng.random() < 0.3),
        gain=draw(family.gain, rng, log=True),
        tone=draw(family.tone, rng),
        bias_dn=float(rng.uniform(0, 14)),
        read_noise_dn=draw(family.read_noise_dn, rng),
        shot_noise_dn=float(rng.uniform(0.02, 0.25)),
        noise_blur_px=float(rng.uniform(0.0, 0.9)),
        vignetting=float(rng.uniform(0.1, 0.6)),
        colour_mix=float(rng.uniform(0.0, 0.45)),
        white=(float(rng.uniform(0.75, 1.3)), 1.0, float(rng.uniform(0.7, 1.4))),
        hot_pixels=int(rng.integers(0, 60)),
        hot_seed=int(rng.integers(1 << 30)),
        surround=(grey, grey, grey + float(rng.uniform(0, 6))),
        text=bool(rng.random() < family.text_share),
        flare=float(rng.uniform(0.02, 0.15)) if rng.random() < 0.5 else 0.0,
    )


def sample_sky(family: Family, rng: np.random.Generator, *, aurora: bool) -> Sky:
    """A sky of a family; without aurora the nuisances come oftener and stronger."""
    often = 0.30 if aurora else 0.45
    moon = rng.random() < often
    cloud = rng.random() < (0.30 if aurora else 0.50)
    twilight = rng.random() < (0.10 if aurora else 0.25)
    deep = -9.0 if aurora else -6.0
    lights = tuple(_light(rng) for _ in range(int(rng.integers(0, 4))))
    greenish = float(rng.uniform(0.75, 1.7))
    airglow = draw(family.airglow, rng, log=True)
    if not aurora and rng.random() < 0.3:
        # Evenly lit skies: fog, thin cloud, grey twilight.
        airglow *= float(rng.uniform(2.0, 25.0))
    cover = 0.0
    if cloud:
        # A third of the empty cloudy skies is overcast.
        cover = 1.25 if not aurora and rng.random() < 0.35 else float(rng.uniform(0.15, 0.75))
    dull = rng.random() < 0.5
    hazy = rng.random() < 0.5
    return Sky(
        latitude_deg=float(rng.uniform(60, 82)) * (1 if rng.random() < 0.5 else -1),
        sidereal_deg=float(rng.uniform(0, 360)),
        airglow=airglow,
        airglow_colour=(float(rng.uniform(0.55, 1.5)), greenish, float(rng.uniform(0.5, 1.9))),
        star_seed=int(family.seed_base // SEED_SPAN * 100 + rng.integers(20)),
        star_brightness=float(np.exp(rng.uniform(np.log(0.2), np.log(4.0)))),
        milky_way=float(rng.uniform(0.0005, 0.006)) if rng.random() < 0.6 else 0.0,
        sun_azimuth_deg=float(rng.uniform(0, 360)),
        sun_elevation_deg=float(rng.uniform(-14, deep)) if twilight else -30.0,
        moon_azimuth_deg=float(rng.uniform(0, 360)),
        moon_elevation_deg=float(rng.uniform(2, 35)) if moon else -20.0,
        moon_phase=float(rng.uniform(0.25, 1.0)),
        haze=float(np.exp(rng.uniform(np.log(0.003), np.log(0.08)))) if hazy else 0.0,
        haze_colour=(float(rng.uniform(0.6, 1.3)), 1.0, float(rng.uniform(0.3, 1.2))),
        haze_deg=float(rng.uniform(2, 16)),
        lights=lights,
        cloud_cover=cover,
        cloud_light=float(np.exp(rng.uniform(np.log(0.001), np.log(0.25 if not aurora else 0.08))))
        if cloud
        else 0.0,
        cloud_colour=(
            (1.0, float(rng.uniform(0.62, 0.95)), float(rng.uniform(0.3, 0.7)))
            if dull
            else (0.8, float(rng.uniform(0.8, 1.0)), float(rng.uniform(0.8, 1.1)))
        ),
        cloud_uneven=float(rng.uniform(0.0, 0.7)),
        cloud_seed=int(rng.integers(16)),
        cloud_drift=(float(rng.uniform(0, 100)), float(rng.uniform(0, 100))),
        cloud_scale=float(rng.uniform(0.5, 3.0)),
        skyline_seed=int(rng.integers(1 << 30)),
        skyline_deg=float(rng.uniform(0, 9)),
    )


def _light(rng: np.random.Generator) -> Light:
    town = rng.random() < 0.45
    return Light(
        azimuth_deg=float(rng.uniform(0, 360)),
        width_deg=float(rng.uniform(20, 60) if town else rng.uniform(4, 25)),
        height_deg=float(rng.uniform(5, 30) if town else rng.uniform(1.5, 12)),
        brightness=float(np.exp(rng.uniform(np.log(0.01), np.log(0.5)))),
        colour=(1.0, float(rng.uniform(0.5, 0.85)), float(rng.uniform(0.15, 0.6)))
        if rng.random() < 0.75
        else LED,
        lamps=int(rng.integers(0, 6)),
    )


def sample_forms(family: Family, rng: np.random.Generator) -> tuple[Form, ...]:
    """One to four forms along roughly the same direction, as in nature."""
    normal = float(rng.uniform(0, 360))
    kinds = list(FormKind)
    weights = (0.32, 0.36, 0.18, 0.14)
    return tuple(
        sample_form(family, rng, kinds[int(rng.choice(4, p=weights))], normal)
        for _ in range(int(rng.integers(1, 5)))
    )


def sample_form(
    family: Family, rng: np.random.Generator, kind: FormKind, normal_azimuth_deg: float
) -> Form:
    """A form of a kind; its place, size, colour and motion drawn from the family."""
    sheet = kind in (FormKind.DIFFUSE, FormKind.PULSATING)
    rayed = kind == FormKind.RAYED_BAND
    dimmer = {FormKind.DIFFUSE: 0.45, FormKind.PULSATING: 0.3}.get(kind, 1.0)
    brightness = draw(family.brightness, rng, log=True) * dimmer
    return Form(
        kind=kind,
        seed=int(rng.integers(1 << 30)),
        normal_azimuth_deg=normal_azimuth_deg + float(rng.normal(0, 12)),
        offset_km=float(rng.uniform(-520, 520)) * float(rng.uniform(0.3, 1)),
        width_km=draw(family.diffuse_width_km if sheet else family.arc_width_km, rng),
        brightness=brightness,
        drift_km_s=float(rng.normal(0, 0.4)) if rayed else float(rng.normal(0, 0.15)),
        turn_km=560.0,
        curvature_1_km=float(rng.normal(0, 4e-4)),
        fold_km=draw(family.fold_km, rng) * (2.0 if rayed else 0.7),
        fold_length_km=float(rng.uniform(120, 600)),
        fold_speed_km_s=float(rng.normal(0, 0.6)),
        along_km=float(rng.uniform(-350, 350)),
        half_length_km=float(rng.uniform(90, 400)) if rng.random() < 0.5 else 2500.0,
        ray_depth=float(rng.uniform(0.5, 0.95)) if rayed else float(rng.uniform(0, 0.25)),
        ray_km=draw(family.ray_km, rng),
        ray_speed_km_s=float(rng.normal(0, 1.0)),
        red=draw(family.red, rng) * (1.25 if rayed else 1.0),
        purple=float(rng.uniform(0, 0.5)) if rng.random() < 0.35 else 0.0,
        swing=float(rng.uniform(0.5, 0.9)) if kind == FormKind.PULSATING else 0.0,
        period_s=float(rng.uniform(4, 30)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        patch_km=draw(family.patch_km, rng),
    )
