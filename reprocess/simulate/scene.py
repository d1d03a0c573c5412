"""What one simulated all-sky frame shows: camera, sky and auroral forms.

Everything is a frozen value; a frame is a pure function of its `Scene`.
Brightness is linear and relative: 1 saturates the sensor at gain 1.
Lengths across the aurora are kilometres at 110 km altitude.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

Colour = tuple[float, float, float]


class FormKind(IntEnum):
    """Auroral forms the simulator draws; the number is stored in the truth."""

    ARC = 1
    RAYED_BAND = 2
    DIFFUSE = 3
    PULSATING = 4
    SPIRAL = 5


class Lens(StrEnum):
    """How the distance from the picture's zenith grows with zenith angle z.

    Each is scaled so that the horizon lies at `90 * Camera.px_per_deg`.
    """

    EQUIDISTANT = "equidistant"
    """z."""
    EQUISOLID = "equisolid"
    """sin(z / 2)."""
    BARREL = "barrel"
    """z (1.25 - 0.25 (z / 90 deg)^2): the horizon is squeezed."""
    STEREOGRAPHIC = "stereographic"
    """tan(z / 2): the horizon is stretched."""


class CloudKind(StrEnum):
    """Shapes of cloud."""

    PATCHES = "patches"
    """Ragged banks; `cloud_cover` is their share, above 1 overcast."""
    SMOOTH = "smooth"
    """A veil or overcast without edges; `cloud_cover` is its opacity."""
    HOLE = "hole"
    """Smooth overcast of opacity `cloud_cover` with one ragged hole."""
    STREAKS = "streaks"
    """Parallel fibres of cirrus; `cloud_cover` is their greatest opacity."""
    CELLS = "cells"
    """Rows of small rounded heaps; `cloud_cover` is their greatest opacity."""


@dataclass(frozen=True)
class Camera:
    """An equidistant all-sky camera and its electronics.

    Pixel coordinates as in a campaign file: x right, y down, 0-based centres;
    `north_deg` is geographic north clockwise from the top, `east_right` tells
    the handedness.
    """

    size_px: int
    center_x_px: float
    center_y_px: float
    px_per_deg: float
    north_deg: float
    east_right: bool
    gain: float = 1.0
    tone: float = 0.8
    """0 is a linear response, 1 a square root (gamma 2)."""
    bias_dn: float = 4.0
    read_noise_dn: float = 1.5
    shot_noise_dn: float = 0.12
    """Variance of the noise a DN of signal, DN."""
    noise_blur_px: float = 0.5
    vignetting: float = 0.3
    """Light lost at the horizon, share."""
    vignetting_center: tuple[float, float] = (0.0, 0.0)
    """Where the least light is lost: east and north of the zenith, in 90 degrees."""
    colour_mix: float = 0.2
    """0 keeps the line colours pure, 1 is grey."""
    white: Colour = (1.0, 1.0, 1.0)
    hot_pixels: int = 20
    hot_seed: int = 0
    surround: Colour = (3.0, 3.0, 4.0)
    """DN outside the sky disk."""
    text: bool = False
    """Text and azimuth ticks burnt into the picture outside the disk."""
    flare: float = 0.0
    """Stray light that the lens spreads beside the disk."""
    lens: Lens = Lens.EQUIDISTANT
    mono: bool = False
    """One channel, stored as three equal ones."""
    dark: Colour = (0.0, 0.0, 0.0)
    """DN of dark current in each channel, the sky disk and beside it."""
    banding_dn: float = 0.0
    """Standard deviation of the offset of whole rows, DN."""
    corner_glow_dn: float = 0.0
    """Glow of the read-out electronics in one corner, DN."""
    sharpen: float = 0.0
    """Strength of an unsharp mask, as consumer cameras apply."""
    writing: int = 0
    """Coloured texts burnt in at the rim and into the sky."""
    ghost: float = 0.0
    """Share of the light that dome and lens mirror to the far side of the zenith."""
    snow: float = 0.0
    """Share of the dome under a translucent layer of snow or frost."""
    dust: int = 0
    """Unsharp spots on the dome: dust, frozen drops."""
    dome_seed: int = 0


@dataclass(frozen=True)
class Light:
    """A station or town on the horizon: a glow and a few lamps."""

    azimuth_deg: float
    width_deg: float
    height_deg: float
    brightness: float
    colour: Colour
    lamps: int


@dataclass(frozen=True)
class CloudLamp:
    """A town or station that lights the cloud above it; distances in heights of the cloud."""

    azimuth_deg: float
    distance: float
    reach: float
    """Distance from its foot at which the light on the cloud has fallen to a quarter."""
    brightness: float
    """Light on the cloud above it over `Sky.cloud_light`."""
    colour: Colour
    uneven: float = 0.0
    """Share by which the cloud takes its light up unevenly."""


@dataclass(frozen=True)
class Obstacle:
    """A silhouette on the horizon: a building, a mast or a row of trees."""

    azimuth_deg: float
    half_width_deg: float
    height_deg: float
    trees: bool = False
    """A ragged top of conifers instead of a flat roof."""


@dataclass(frozen=True)
class Sky:
    """The aurora-free sky of one moment."""

    latitude_deg: float
    sidereal_deg: float
    airglow: float
    airglow_colour: Colour
    star_seed: int
    star_brightness: float
    milky_way: float
    sun_azimuth_deg: float = 0.0
    sun_elevation_deg: float = -40.0
    moon_azimuth_deg: float = 0.0
    moon_elevation_deg: float = -30.0
    moon_phase: float = 0.0
    """Illuminated share of the disk, 0 to 1."""
    haze: float = 0.0
    """Scattered light that brightens the lowest sky all around."""
    haze_colour: Colour = (0.9, 1.0, 0.8)
    haze_deg: float = 6.0
    lights: tuple[Light, ...] = ()
    cloud_cover: float = 0.0
    cloud_light: float = 0.0
    cloud_colour: Colour = (1.0, 0.75, 0.45)
    cloud_uneven: float = 0.0
    """Share by which the clouds' own brightness varies from place to place."""
    cloud_seed: int = 0
    cloud_drift: tuple[float, float] = (0.0, 0.0)
    """Displacement of the cloud layer, in units of its height."""
    cloud_scale: float = 1.0
    skyline_seed: int = 0
    skyline_deg: float = 3.0
    """Greatest height of the dark horizon silhouette."""
    cloud_kind: CloudKind = CloudKind.PATCHES
    cloud_limb: float = 0.5
    """Brightness of the cloud at the horizon less that overhead, over their mean."""
    cloud_lit: float = 0.0
    """By how many times the clouds are brighter on the side they are lit from."""
    cloud_lit_azimuth_deg: float = 0.0
    cloud_lit_colour: Colour = (1.0, 0.7, 0.4)
    cloud_lamps: tuple[CloudLamp, ...] = ()
    scatter: float = 0.0
    """Share of the aurora's light that clouds and haze spread: background, not truth."""
    aureole: float = 0.0
    """Moonlight that thick cloud and haze spread tens of degrees about the Moon."""
    airglow_wave: float = 0.0
    """Contrast of wave bands in the airglow."""
    twilight_tint: Colour = (1.0, 1.0, 1.0)
    ground: Colour = (0.0, 0.0, 0.0)
    """Light of the ground and of the obstacles themselves, linear."""
    obstacles: tuple[Obstacle, ...] = ()


@dataclass(frozen=True)
class Form:
    """One auroral form and how it changes with time.

    The form lies along a line whose normal points to `normal_azimuth_deg`,
    `offset_km` from the station's zenith. The offset moves with
    `drift_km_s` and turns back at `turn_km`; brightness is
    `brightness * (1 + swing * sin(2 pi t / period_s + phase))`.
    """

    kind: FormKind
    seed: int
    normal_azimuth_deg: float
    offset_km: float
    width_km: float
    brightness: float
    drift_km_s: float = 0.0
    turn_km: float = 500.0
    curvature_1_km: float = 0.0
    fold_km: float = 0.0
    fold_length_km: float = 300.0
    fold_speed_km_s: float = 0.0
    along_km: float = 0.0
    half_length_km: float = 2000.0
    ray_depth: float = 0.0
    ray_km: float = 12.0
    ray_speed_km_s: float = 0.0
    red: float = 0.1
    purple: float = 0.0
    swing: float = 0.0
    period_s: float = 600.0
    phase: float = 0.0
    patch_km: float = 80.0
    green: float = 1.0
    """Strength of the green line; 0 leaves red and purple alone."""
    turns: float = 1.0
    """Windings of a spiral."""


@dataclass(frozen=True)
class Scene:
    """Everything one frame shows. `time_s` moves the forms, `seed` draws the noise."""

    camera: Camera
    sky: Sky
    forms: tuple[Form, ...]
    time_s: float
    seed: int
