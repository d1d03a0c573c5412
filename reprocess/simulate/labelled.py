"""Simulated scenes as a labelled set: images, masks of three codes, cameras and conditions.

A mask holds aurora (255) where `render.visible` says so, 128 in the band of
doubt about its edge (`render.faint_edge`), which nobody learns from and which
is scored apart, and 0 elsewhere.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch
from reprocess.errors import ConfigurationError
from reprocess.labels import AURORA, BACKGROUND, UNJUDGED, LabelWriter
from reprocess.simulate.aurora import DEG_PER_MIN_OVERHEAD, brightness_change_per_min
from reprocess.simulate.families import SEED_SPAN
from reprocess.simulate.grid import radius_of
from reprocess.simulate.render import Rendered, render
from reprocess.simulate.scene import Camera, FormKind, Lens, Scene
from reprocess.simulate.wide import FAMILY_NAMES, scene_of

STATION = "SIM"
FIRST_NIGHT = np.datetime64("2021-01-01T00:00:00", "us")
SCENES_A_DAY = 10
CONDITIONS = (
    "family", "sky", "cloud", "cloud_cover", "moon_elevation_deg", "sun_elevation_deg", "form",
    "drift_deg_per_min", "change_per_min", "peak_dn", "lens", "mono",
)  # fmt: skip
"""Columns of the index beside the fixed ones; `docs/labels.md` lists their meaning."""

Value = str | float | bool


@dataclass(frozen=True, eq=False)
class LabelledScene:
    """One scene, drawn: what a row of the set needs."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    camera: CameraEpoch
    conditions: dict[str, Value]


def write_scenes(
    directory: str | Path,
    family: str,
    count: int,
    *,
    first: int = 0,
    size_px: int = 256,
    processes: int = 2,
) -> int:
    """Write scenes `first` … `first + count - 1` of a family as a labelled set.

    Parameters
    ----------
    directory : new or empty
    family : one of `wide.FAMILY_NAMES`
    size_px : side of the images, a multiple of 8
    processes : that draw; the bytes do not depend on it

    Returns
    -------
    int
        How many of the scenes show aurora.

    Raises
    ------
    ConfigurationError
        If the family, the numbers or the size do not fit, or the folder holds something.

    Notes
    -----
    Every scene has a camera of its own, named by its number. Times are given
    out, ten scenes a day, so that sets can be split by date; they say nothing of
    Sun, Moon or stars, which are drawn at random.
    """
    if family not in FAMILY_NAMES:
        raise ConfigurationError(
            f"family {family!r} is unknown; expected one of {', '.join(FAMILY_NAMES)}"
        )
    if count < 1 or first < 0 or first + count > SEED_SPAN:
        raise ConfigurationError(
            f"scenes {first} to {first + count - 1}: expected at least one, from 0 to "
            f"{SEED_SPAN - 1}"
        )
    if size_px < 32 or size_px % 8:
        raise ConfigurationError(f"size {size_px}: expected a multiple of 8, from 32")
    visible = 0
    with LabelWriter(directory, CONDITIONS) as writer:
        for number, drawn in zip(
            range(first, first + count), _draw(family, first, count, size_px, processes),
            strict=True,
        ):  # fmt: skip
            writer.add(
                drawn.image, drawn.mask, time=time_of(number), station=STATION,
                camera=f"{family}-{number}", conditions=drawn.conditions, epoch=drawn.camera,
                name=f"{family}-{number:09d}",
            )  # fmt: skip
            visible += bool((drawn.mask == AURORA).any())
    return visible


def time_of(number: int) -> np.datetime64:
    """The time that a scene is given, UTC: ten scenes a day, 6 min apart."""
    day, index = divmod(number, SCENES_A_DAY)
    return FIRST_NIGHT + np.timedelta64(day % 36_500, "D") + np.timedelta64(6 * index, "m")


def draw_scene(family: str, number: int, size_px: int) -> LabelledScene:
    """Draw one scene with its mask, camera and conditions."""
    scene = scene_of(family, number, size_px)
    rendered = render(scene)
    return LabelledScene(
        rendered.image,
        mask_of(rendered),
        camera_epoch(scene.camera),
        {"family": family, **conditions_of(scene, rendered)},
    )


def mask_of(rendered: Rendered) -> NDArray[np.uint8]:
    """(y, x) uint8: 255 aurora, 128 the band of doubt about its edge, 0 background."""
    mask = np.where(rendered.label > 0, AURORA, BACKGROUND)
    return np.where(rendered.faint, UNJUDGED, mask).astype(np.uint8)


def conditions_of(scene: Scene, rendered: Rendered) -> dict[str, Value]:
    """What `CONDITIONS` says of a scene, but its family.

    Drift, change and peak are those of the form that covers most of the
    picture; 0 where no aurora is visible.
    """
    sky = scene.sky
    shown = [i for i, share in enumerate(rendered.area) if share > 0]
    main = max(shown, key=lambda i: rendered.area[i], default=None)
    form = None if main is None else scene.forms[main]
    clouded = sky.cloud_cover > 0
    return {
        "sky": "twilight" if sky.sun_elevation_deg > -15 else "dark",
        "cloud": str(sky.cloud_kind) if clouded else "none",
        "cloud_cover": round(sky.cloud_cover, 3),
        "moon_elevation_deg": round(sky.moon_elevation_deg, 2),
        "sun_elevation_deg": round(sky.sun_elevation_deg, 2),
        "form": "none" if form is None else FormKind(form.kind).name.lower(),
        "drift_deg_per_min": 0.0
        if form is None
        else round(abs(form.drift_km_s) * DEG_PER_MIN_OVERHEAD, 3),
        "change_per_min": 0.0
        if form is None
        else round(abs(brightness_change_per_min(form, scene.time_s)), 3),
        "peak_dn": 0.0 if main is None else round(rendered.peak_dn[main], 1),
        "lens": str(scene.camera.lens),
        "mono": scene.camera.mono,
    }


def camera_epoch(camera: Camera) -> CameraEpoch:
    """The camera as a campaign describes one.

    A stereographic lens, which campaigns do not have, is written as the
    polynomial of ninth degree fitted to it, within 0.02 % of the horizon's radius.
    """
    fisheye = {
        "center_x_px": camera.center_x_px,
        "center_y_px": camera.center_y_px,
        "north_deg": camera.north_deg,
        "east": "right" if camera.east_right else "left",
    }
    k = camera.px_per_deg
    if camera.lens is Lens.EQUIDISTANT:
        lens = {"model": "equidistant", "px_per_deg": k}
    elif camera.lens is Lens.EQUISOLID:
        lens = {"model": "equal-area", "focal_px": 90.0 * k / np.sqrt(2.0)}
    elif camera.lens is Lens.BARREL:
        lens = {"model": "polynomial", "px_per_deg_odd": (1.25 * k, -0.25 * k / 8100.0)}
    else:
        lens = {"model": "polynomial", "px_per_deg_odd": tuple(k * c for c in _odd(camera.lens))}
    return CameraEpoch.model_validate(
        {
            "valid_from": "1970-01-01T00:00:00Z",
            "lens": fisheye | lens,
            "image_width_px": camera.size_px,
            "image_height_px": camera.size_px,
            "crop": {"left_px": 0, "top_px": 0, "size_px": camera.size_px},
        }
    )


def _odd(lens: Lens) -> tuple[float, ...]:
    """k1 … k9 of r / px_per_deg = k1 z + … + k9 z^9, z in degrees, by least squares."""
    zenith = np.linspace(0.0, 90.0, 361)
    powers = np.arange(1, 10, 2)
    terms = (zenith[:, None] / 90.0) ** powers
    found = np.linalg.lstsq(terms, np.asarray(radius_of(zenith, lens)), rcond=None)[0]
    return tuple(float(v) for v in found / 90.0**powers)


def _draw(
    family: str, first: int, count: int, size_px: int, processes: int
) -> Iterator[LabelledScene]:
    jobs = [(family, first + i, size_px) for i in range(count)]
    if processes <= 1 or count < 16:
        yield from map(_draw_job, jobs)
        return
    # One OpenCV thread a process: the processes already fill the cores.
    with multiprocessing.get_context("spawn").Pool(processes, cv2.setNumThreads, (1,)) as pool:
        yield from pool.imap(_draw_job, jobs, chunksize=8)


def _draw_job(job: tuple[str, int, int]) -> LabelledScene:
    return draw_scene(*job)
