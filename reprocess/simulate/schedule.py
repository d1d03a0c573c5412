"""What happens when in the sample archive: eight nights in two winters.

Each day has sessions of about 26 minutes with one situation each. The start
times are spread so that most hours of magnetic local time that are ever dark
at Jang Bogo are seen, several of them by more than one situation. All ranges
come from the TEST family.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from reprocess.simulate.families import TEST, Family, sample_form
from reprocess.simulate.scene import Form, FormKind

SEED = 20250
EQUATORWARD_DEG = 70.0
"""Azimuth towards magnetic north, equatorward, at Jang Bogo (AACGM, 110 km)."""


@dataclass(frozen=True)
class Session:
    """Some minutes of one situation; `start_min` counts from 00:00 UTC."""

    situation: str
    start_min: int
    minutes: int = 27
    cloud_cover: float = 0.0
    gain_step: float = 1.0
    """Factor by which the camera's gain changes half-way."""


@dataclass(frozen=True)
class Night:
    """One UTC day of the archive."""

    day: date
    sessions: tuple[Session, ...]


def _at(hours: int, minutes: int = 0) -> int:
    return 60 * hours + minutes


NIGHTS = (
    Night(date(2021, 5, 14), (
        Session("steady_arc", _at(8)), Session("fast_arc", _at(11)),
        Session("diffuse", _at(14)), Session("quiet", _at(17)),
    )),
    Night(date(2021, 6, 10), (
        Session("steady_horizon_arc", _at(6, 30)), Session("rayed_bands", _at(10, 20)),
        Session("pulsating", _at(15)), Session("steady_arc", _at(18, 40)),
    )),
    Night(date(2021, 6, 24), (  # full Moon, no aurora
        Session("quiet", _at(9)), Session("quiet", _at(13), cloud_cover=0.55),
        Session("quiet", _at(19), cloud_cover=1.25),
    )),
    Night(date(2021, 7, 9), (
        Session("arcs_and_patches", _at(7, 40)), Session("steady_arc", _at(12, 30)),
        Session("rayed_bands", _at(16, 10), cloud_cover=0.35), Session("quiet", _at(20)),
        Session("twilight", _at(22, 6), minutes=12),
    )),
    Night(date(2022, 5, 30), (
        Session("steady_horizon_arc", _at(9, 30)), Session("fast_arc", _at(12)),
        Session("steady_arc", _at(15, 30), gain_step=1.12), Session("rayed_bands", _at(19)),
    )),
    Night(date(2022, 6, 13), (  # Moon nearly full
        Session("steady_arc", _at(7)), Session("diffuse", _at(11, 30)),
        Session("fast_arc", _at(17)), Session("quiet", _at(20, 30)),
    )),
    Night(date(2022, 6, 29), (  # new Moon, no aurora
        Session("quiet", _at(6)), Session("quiet", _at(10)),
        Session("quiet", _at(14, 30), cloud_cover=0.4), Session("quiet", _at(18)),
    )),
    Night(date(2022, 7, 28), (
        Session("arcs_and_patches", _at(8, 30)), Session("pulsating", _at(13)),
        Session("steady_horizon_arc", _at(16, 30)), Session("steady_arc", _at(19, 30)),
    )),
)  # fmt: skip


def session_forms(situation: str, seed: int, family: Family = TEST) -> tuple[Form, ...]:
    """The auroral forms of a situation, drawn from a family; none for a quiet sky.

    Steady forms move less than 0.05 deg a minute overhead and change by less
    than 1 % a minute; fast ones move 8 to 20 deg a minute.
    """
    rng = np.random.default_rng([family.seed_base, seed, 3])

    def form(kind: FormKind, offset_km: float) -> Form:
        drawn = sample_form(family, rng, kind, EQUATORWARD_DEG)
        return replace(
            drawn, offset_km=offset_km, half_length_km=2500.0, curvature_1_km=3e-4, along_km=0.0
        )

    def steady(offset_km: float) -> Form:
        bright = float(rng.uniform(0.19, 0.26))
        return replace(
            form(FormKind.ARC, offset_km),
            brightness=bright, drift_km_s=float(rng.uniform(-0.0015, 0.0015)),
            fold_speed_km_s=0.0, ray_speed_km_s=0.0, ray_depth=0.1, swing=0.03, period_s=3600.0,
        )  # fmt: skip

    def fast(offset_km: float) -> Form:
        speed = float(rng.uniform(0.26, 0.65)) * (1 if rng.random() < 0.5 else -1)
        return replace(
            form(FormKind.ARC, offset_km),
            brightness=float(rng.uniform(0.19, 0.26)), drift_km_s=speed, turn_km=380.0,
            swing=0.35, period_s=float(rng.uniform(240, 600)),
        )  # fmt: skip

    def rayed(offset_km: float) -> Form:
        drift = float(rng.uniform(0.05, 0.25)) * (1 if rng.random() < 0.5 else -1)
        return replace(
            form(FormKind.RAYED_BAND, offset_km),
            brightness=float(rng.uniform(0.18, 0.27)), drift_km_s=drift, turn_km=420.0,
            swing=0.4, period_s=float(rng.uniform(300, 900)),
        )  # fmt: skip

    def sheet(kind: FormKind, offset_km: float) -> Form:
        return replace(
            form(kind, offset_km),
            brightness=float(rng.uniform(0.06, 0.10)), drift_km_s=float(rng.uniform(-0.06, 0.06)),
        )  # fmt: skip

    def patches(offset_km: float) -> Form:
        return replace(
            sheet(FormKind.PULSATING, offset_km),
            swing=0.8, period_s=float(rng.uniform(8, 25)), half_length_km=420.0,
        )  # fmt: skip

    match situation:
        case "quiet" | "twilight":
            return ()
        case "steady_arc":
            return (steady(float(rng.uniform(-140, 220))),)
        case "steady_horizon_arc":
            return (steady(float(rng.uniform(330, 430))),)
        case "fast_arc":
            return (fast(float(rng.uniform(-150, 250))), fast(float(rng.uniform(0, 350))))
        case "rayed_bands":
            return tuple(rayed(o + float(rng.uniform(-30, 30))) for o in (220.0, 40.0))
        case "diffuse":
            return (sheet(FormKind.DIFFUSE, 120.0),)
        case "pulsating":
            return (patches(60.0),)
        case "arcs_and_patches":
            return (
                steady(300.0),
                fast(60.0),
                replace(patches(-160.0), half_length_km=350.0),
            )
    raise ValueError(f"unknown situation {situation!r}")
