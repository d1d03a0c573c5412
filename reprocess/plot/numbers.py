"""Numbers that the figures and the report page say alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray


def most_days(cube: xr.Dataset, labels: Sequence[str], *, common: bool) -> NDArray[np.int64] | None:
    """The largest number of UTC days on which one and the same cell was observed.

    Parameters
    ----------
    cube : from `open_cube` or `count_occurrence`, or a selection of months or groups of one
    labels : detectors, in the order of the result
    common : days with frames that all compared detectors observed

    Returns
    -------
    (detector, mlt) int64 array
        None where the dataset does not tell: without `n_days`, or over several groups.

    Notes
    -----
    A day lies in one month, so days add up over months. It may have frames in several groups,
    MLT bins, cells and detectors: over those no sum of `n_days` is a number of days, and the
    largest one is a number that there are at least.
    """
    if "n_days" not in cube or cube.sizes.get("group", 1) > 1:
        return None
    outcome = "observed_common" if common else "observed"
    chosen = cube["n_days"].sel(outcome=outcome, detector=list(labels))
    over = [name for name in ("time", "group") if name in chosen.dims]
    days: NDArray[np.int64] = (
        chosen.sum(over, dtype=np.int64).max("cell").transpose("detector", "mlt").to_numpy()
    )
    return days
