"""Write the sample: a simulated archive, its truth and its campaign file.

`sample.yaml` beside this module is the one source of the campaign's settings;
the lens and the picture's size are read from it. Like a real archive it has
missing minutes, copies, cut-off files and strangers among its files.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch, Campaign, EquidistantLens, campaign_from_mapping
from reprocess.errors import ConfigurationError
from reprocess.simulate.aurora import DEG_PER_MIN_OVERHEAD, brightness_change_per_min
from reprocess.simulate.celestial import moon, sidereal_deg, sun
from reprocess.simulate.families import SODIUM, TEST
from reprocess.simulate.render import encode_jpeg, render
from reprocess.simulate.scene import Camera, Light, Scene, Sky
from reprocess.simulate.schedule import NIGHTS, SEED, Night, Session, session_forms
from reprocess.simulate.truth import FORMS_MAX, DayTruth, save_day

MISSING_SHARE = 0.03
TINY_DAYS = (1, 4)
TINY_FRAMES = 12
TINY_SCALE = 5
CLOUD_DRIFT_PER_S = (0.0016, 0.0009)


@dataclass(frozen=True)
class FrameJob:
    """One frame to draw: a plain value, so that any process can do it."""

    time: np.datetime64
    session: Session
    session_seed: int
    epoch: CameraEpoch
    latitude_deg: float
    longitude_deg: float


@dataclass(frozen=True, eq=False)
class Drawn:
    """One finished frame, and its row of the truth."""

    data: bytes
    label: NDArray[np.uint8]
    row: dict[str, Any]


def write_sample(
    directory: str | Path, *, days: int | None = None, processes: int = 2, tiny: bool = False
) -> Path:
    """Write `archive/`, `truth/` and `sample.yaml` into a directory.

    Parameters
    ----------
    directory : created if need be; files of the same names are overwritten
    days : int or None
        Only the first so many days; None writes all eight.
    processes : int, >= 1
        Spawned processes that draw frames; 1 draws in this one.
    tiny : bool
        For tests: two days of 12 frames, 96 x 96 pixels.

    Returns
    -------
    Path
        The campaign file.

    Raises
    ------
    ConfigurationError
        If the directory cannot be made.

    Notes
    -----
    The same bytes each time, whatever `processes` is. Every frame's noise is
    drawn from its own time.
    """
    target = Path(directory)
    campaign_path = target / "sample.yaml"
    text = sample_text(tiny=tiny)
    campaign = campaign_from_mapping(yaml.safe_load(text), source="sample.yaml")
    nights = _tiny_nights() if tiny else NIGHTS
    nights = nights[: days if days is not None else len(nights)]
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"sample {target}: cannot be made ({error.strerror}); expected a directory that this "
            f"user can write"
        ) from error
    campaign_path.write_text(text, encoding="utf-8")
    jobs = [_jobs(campaign, number, night) for number, night in enumerate(nights)]
    drawn = _draw_all([job for night in jobs for job in night], processes)
    manifest = {}
    for night, todo in zip(nights, jobs, strict=True):
        frames = [next(drawn) for _ in todo]
        manifest[night.day.isoformat()] = _write_night(target, night.day, todo, frames)
    (target / "truth" / "manifest.json").write_text(
        json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    return campaign_path


def sample_text(*, tiny: bool = False) -> str:
    """The campaign file of the sample; the tiny one is derived from the same file."""
    text = files("reprocess.simulate").joinpath("sample.yaml").read_text(encoding="utf-8")
    if not tiny:
        return text
    document = yaml.safe_load(text)
    for epoch in document["camera"]:
        lens, crop = epoch["lens"], epoch["crop"]
        for key in ("center_x_px", "center_y_px"):
            lens[key] = round((lens[key] + 0.5) / TINY_SCALE - 0.5, 4)
        lens["px_per_deg"] = round(lens["px_per_deg"] / TINY_SCALE, 4)
        epoch["image_width_px"] //= TINY_SCALE
        epoch["image_height_px"] //= TINY_SCALE
        epoch["crop"] = {
            "left_px": crop["left_px"] // TINY_SCALE,
            "top_px": crop["top_px"] // TINY_SCALE,
            "size_px": -(-crop["size_px"] // TINY_SCALE) + 1,
        }
    document["name"] = "sample-tiny"
    document["image"] = {"size_px": 64}
    return (
        "# The tiny sample campaign, for tests: sample.yaml at a fifth of the size.\n"
        + yaml.safe_dump(document, sort_keys=False)
    )


def _tiny_nights() -> tuple[Night, ...]:
    short = []
    for number in TINY_DAYS:
        night = NIGHTS[number]
        share = TINY_FRAMES // 2
        sessions = tuple(replace(s, minutes=share) for s in (night.sessions[0], night.sessions[-1]))
        short.append(Night(night.day, sessions))
    return tuple(short)


def _jobs(campaign: Campaign, number: int, night: Night) -> list[FrameJob]:
    """The frames of a night that the archive has; a few minutes are missing."""
    jobs = []
    for index, session in enumerate(night.sessions):
        seed = SEED + 100 * number + index
        present = np.random.default_rng([seed, 5]).random(session.minutes) >= MISSING_SHARE
        for minute in np.flatnonzero(present):
            time = np.datetime64(night.day, "us") + np.timedelta64(
                int((session.start_min + minute) * 60 + campaign.phase_s), "s"
            )
            epoch = campaign.epoch_at(time)
            assert epoch is not None
            jobs.append(
                FrameJob(
                    time, session, seed, epoch,
                    campaign.site.latitude_deg, campaign.site.longitude_deg,
                )
            )  # fmt: skip
    return jobs


def _draw_all(jobs: list[FrameJob], processes: int) -> Iterator[Drawn]:
    if processes <= 1 or len(jobs) < 8:
        yield from map(draw_frame, jobs)
        return
    # One OpenCV thread a process: the processes already fill the cores.
    with multiprocessing.get_context("spawn").Pool(processes, cv2.setNumThreads, (1,)) as pool:
        yield from pool.imap(draw_frame, jobs, chunksize=8)


def draw_frame(job: FrameJob) -> Drawn:
    """Draw one frame of the sample archive as JPEG, with its truth."""
    scene = sample_scene_at(job)
    rendered = render(scene)
    where, phase = moon(job.time, job.latitude_deg, job.longitude_deg)
    row: dict[str, Any] = {
        "form_kind": [int(f.kind) for f in scene.forms],
        "form_drift_deg_per_min": [abs(f.drift_km_s) * DEG_PER_MIN_OVERHEAD for f in scene.forms],
        "form_change_per_min": [brightness_change_per_min(f, scene.time_s) for f in scene.forms],
        "form_peak_dn": list(rendered.peak_dn),
        "form_area": list(rendered.area),
        "sun_elevation_deg": scene.sky.sun_elevation_deg,
        "moon_elevation_deg": where.elevation_deg,
        "moon_phase": phase,
        "cloud_cover": scene.sky.cloud_cover,
        "gain": scene.camera.gain,
    }
    return Drawn(encode_jpeg(rendered.image), rendered.label, row)


def sample_scene_at(job: FrameJob) -> Scene:
    """The scene of one frame: forms of its session, Sun, Moon and stars of its time."""
    start = job.time.astype("datetime64[D]") + np.timedelta64(job.session.start_min, "m")
    elapsed = float((job.time - start) / np.timedelta64(1, "s"))
    stepped = elapsed >= 30.0 * job.session.minutes
    the_sun = sun(job.time, job.latitude_deg, job.longitude_deg)
    the_moon, phase = moon(job.time, job.latitude_deg, job.longitude_deg)
    rng = np.random.default_rng([job.session_seed, 41])
    airglow = float(rng.uniform(0.0033, 0.0042))
    begin = tuple(float(v) for v in rng.uniform(0, 100, 2))
    # The noise's seed is the frame's own minute since 2020.
    minute = int((job.time - np.datetime64("2020-01-01", "us")) / np.timedelta64(1, "m"))
    return Scene(
        camera=_camera(job.epoch, job.session.gain_step if stepped else 1.0),
        sky=Sky(
            latitude_deg=job.latitude_deg,
            sidereal_deg=sidereal_deg(job.time, job.longitude_deg),
            airglow=airglow,
            airglow_colour=(0.85, 1.15, 0.95),
            star_seed=int(TEST.seed_base % 997),
            star_brightness=2.2,
            milky_way=0.003,
            sun_azimuth_deg=the_sun.azimuth_deg,
            sun_elevation_deg=the_sun.elevation_deg,
            moon_azimuth_deg=the_moon.azimuth_deg,
            moon_elevation_deg=the_moon.elevation_deg,
            moon_phase=phase,
            lights=(
                Light(205.0, 10.0, 3.0, 0.12, SODIUM, 5),
                Light(228.0, 5.0, 2.0, 0.06, (0.9, 0.95, 1.0), 2),
            ),
            cloud_cover=job.session.cloud_cover,
            cloud_light=0.006,
            cloud_colour=(1.0, 0.88, 0.72),
            cloud_uneven=0.3,
            cloud_seed=job.session_seed % 16,
            cloud_drift=(
                begin[0] + CLOUD_DRIFT_PER_S[0] * elapsed,
                begin[1] + CLOUD_DRIFT_PER_S[1] * elapsed,
            ),
            cloud_scale=1.4,
            skyline_seed=77,
            skyline_deg=5.0,
        ),
        forms=session_forms(job.session.situation, job.session_seed),
        time_s=elapsed,
        seed=TEST.seed_base + minute,
    )


def _camera(epoch: CameraEpoch, gain_step: float) -> Camera:
    lens = epoch.lens
    if not isinstance(lens, EquidistantLens):
        raise ConfigurationError(
            f"camera epoch {epoch.name}: found lens model {lens.model}, expected equidistant: the "
            f"simulator draws with no other"
        )
    return Camera(
        size_px=epoch.image_width_px,
        center_x_px=lens.center_x_px,
        center_y_px=lens.center_y_px,
        px_per_deg=lens.px_per_deg,
        north_deg=lens.north_deg,
        east_right=lens.east == "right",
        gain=1.0 * gain_step,
        tone=0.78,
        bias_dn=5.0,
        read_noise_dn=1.8,
        shot_noise_dn=0.08,
        noise_blur_px=0.5 if epoch.image_width_px > 200 else 0.0,
        vignetting=0.35,
        colour_mix=0.18,
        white=(1.02, 1.0, 0.97),
        hot_pixels=30 if epoch.image_width_px > 200 else 2,
        hot_seed=epoch.valid_from.year,
        flare=0.03,
    )


def _write_night(
    target: Path, day: date, jobs: list[FrameJob], frames: list[Drawn]
) -> dict[str, int]:
    """Write a night's files and truth; returns how many files of each sort there are."""
    folder = target / "archive" / f"{day:%Y/%m/%d}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([SEED, day.toordinal()])
    n = len(frames)
    damaged = np.zeros(n, np.bool_)
    damaged[rng.choice(n, min(2, n // 6), replace=False)] = True
    names = [_name(job.time) for job in jobs]
    for name, frame, cut in zip(names, frames, damaged, strict=True):
        data = frame.data[: len(frame.data) * 3 // 5] if cut else frame.data
        (folder / name).write_bytes(data)
    good = np.flatnonzero(~damaged)
    copies = rng.choice(good, min(2, len(good)), replace=False)
    for index in copies:
        # A copy of the same picture under a time 11 s later: content tells.
        (folder / _name(jobs[index].time + np.timedelta64(11, "s"))).write_bytes(frames[index].data)
    strangers = {
        f"jbs_{day:%Y%m%d}_256130.jpg": frames[0].data,
        "latest.jpg": frames[-1].data,
        "notes.txt": b"lens cleaned\n",
    }
    for stranger, content in strangers.items():
        (folder / stranger).write_bytes(content)
    truth = DayTruth(
        time=np.array([job.time for job in jobs], "datetime64[us]"),
        name=np.array([f"{day:%Y/%m/%d}/{name}" for name in names]),
        session=np.array([job.session.situation for job in jobs]),
        damaged=damaged,
        label=np.stack([frame.label for frame in frames]),
        form_kind=_table(frames, "form_kind", np.uint8),
        form_drift_deg_per_min=_table(frames, "form_drift_deg_per_min", np.float32),
        form_change_per_min=_table(frames, "form_change_per_min", np.float32),
        form_peak_dn=_table(frames, "form_peak_dn", np.float32),
        form_area=_table(frames, "form_area", np.float32),
        sun_elevation_deg=_column(frames, "sun_elevation_deg"),
        moon_elevation_deg=_column(frames, "moon_elevation_deg"),
        moon_phase=_column(frames, "moon_phase"),
        cloud_cover=_column(frames, "cloud_cover"),
        gain=_column(frames, "gain"),
    )
    save_day(target / "truth", day, truth)
    return {
        "frames": n,
        "damaged": int(damaged.sum()),
        "copies": len(copies),
        "strangers": len(strangers),
        "with_visible_aurora": int(truth.mask.any(axis=(1, 2)).sum()),
    }


def _name(time: np.datetime64) -> str:
    stamp = str(time.astype("datetime64[s]")).replace("-", "").replace(":", "").replace("T", "_")
    return f"jbs_{stamp}.jpg"


def _table(frames: list[Drawn], key: str, dtype: type[np.generic]) -> NDArray[Any]:
    table = np.zeros((len(frames), FORMS_MAX), dtype)
    for row, frame in zip(table, frames, strict=True):
        values = frame.row[key]
        row[: len(values)] = values
    return table


def _column(frames: list[Drawn], key: str) -> NDArray[np.float32]:
    return np.array([frame.row[key] for frame in frames], np.float32)
