"""What the simulated archive really shows, frame by frame.

Format
------
`DIR/truth/YYYYMMDD.npz`, one file a UTC day, NumPy arrays with the simulated
frame as the first axis (n), in order of time. It holds every *simulated*
frame that was written to the archive, truncated ones too (`damaged`), once;
the copies, misnamed files and strangers that the archive also contains are not
frames of their own and are only counted in `DIR/truth/manifest.json`. Minutes
that the archive lacks are absent here too.

==========================  ===========  ==============================================
name                        shape        meaning
==========================  ===========  ==============================================
time                        (n,)         datetime64[us], UTC, as in the file's name
name                        (n,)         path relative to the archive's url
session                     (n,)         name of the scripted situation, see `archive.py`
damaged                     (n,)         bool: the file was cut short and is unreadable
label                       (n, y, x)    uint8 on the *stored* image's pixels: 0 = no
                                         visible aurora, k = form k (1-based) is the
                                         brightest of the visible aurora
form_kind                   (n, 4)       uint8, `scene.FormKind`: 1 arc, 2 rayed band,
                                         3 diffuse, 4 pulsating; 0 = there is no form k
form_drift_deg_per_min      (n, 4)       float32, speed of the whole form across its
                                         length, as it would look overhead at 106 km;
                                         unsigned. Divide by (distance / 106 km)^2 or so
                                         for a form that is far from the zenith
form_change_per_min         (n, 4)       float32, relative change of the form's own
                                         brightness, d ln B / dt, signed; for pulsating
                                         forms the root mean square of one patch
form_peak_dn                (n, 4)       float32, greatest visible brightness over the
                                         background, DN; 0 where it is not visible
form_area                   (n, 4)       float32, share of the picture's pixels it labels
sun_elevation_deg           (n,)         float32, unrefracted centre, 0.05 deg
moon_elevation_deg          (n,)         float32, topocentric, 0.4 deg
moon_phase                  (n,)         float32, illuminated share 0 to 1
cloud_cover                 (n,)         float32, 0 clear; above 1 overcast
gain                        (n,)         float32, of the camera, relative
==========================  ===========  ==============================================

What counts as visible is stated in `render.visible`. `folds` and rays that
run along an arc are not part of the drift: a form with drift 0 and change 0 is
an arc that stands still with steady brightness.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.errors import ArchiveError

FORMS_MAX = 4


@dataclass(frozen=True, eq=False)
class DayTruth:
    """The truth of one UTC day; the module's docstring describes each array."""

    time: NDArray[np.datetime64]
    name: NDArray[np.str_]
    session: NDArray[np.str_]
    damaged: NDArray[np.bool_]
    label: NDArray[np.uint8]
    form_kind: NDArray[np.uint8]
    form_drift_deg_per_min: NDArray[np.float32]
    form_change_per_min: NDArray[np.float32]
    form_peak_dn: NDArray[np.float32]
    form_area: NDArray[np.float32]
    sun_elevation_deg: NDArray[np.float32]
    moon_elevation_deg: NDArray[np.float32]
    moon_phase: NDArray[np.float32]
    cloud_cover: NDArray[np.float32]
    gain: NDArray[np.float32]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(n, y, x) bool: visible aurora on the stored image's pixels."""
        return self.label > 0

    def __len__(self) -> int:
        return len(self.time)


def load_truth(directory: str | Path) -> dict[date, DayTruth]:
    """The truth of a simulated archive, by UTC day, in order.

    Parameters
    ----------
    directory : the folder given to `write_sample`, or its `truth` folder

    Returns
    -------
    dict of date to DayTruth
        About 25 MB a day at 480 x 480.

    Raises
    ------
    ArchiveError
        If there is no truth there, or a file is not one.
    """
    folder = Path(directory)
    if (folder / "truth").is_dir():
        folder = folder / "truth"
    paths = sorted(folder.glob("[0-9]*.npz"))
    if not paths:
        raise ArchiveError(
            f"{folder}: no truth of a simulated archive; expected YYYYMMDD.npz files, "
            f"as `reprocess sample DIR` writes to DIR/truth"
        )
    truth = {}
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays: dict[str, Any] = {f.name: stored[f.name] for f in fields(DayTruth)}
        except (KeyError, OSError, ValueError) as error:
            raise ArchiveError(f"{path}: not a day of simulated truth: {error}") from error
        truth[datetime.strptime(path.stem, "%Y%m%d").date()] = DayTruth(**arrays)
    return truth


def save_day(folder: Path, day: date, truth: DayTruth) -> Path:
    """Write one day; the same truth gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{day:%Y%m%d}.npz"
    arrays: dict[str, Any] = {f.name: getattr(truth, f.name) for f in fields(DayTruth)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return path
