"""A cube so small that every number on its maps is known."""

import numpy as np
import xarray as xr

from reprocess.cube.count import OUTCOMES, mlt_bounds
from reprocess.cube.open import with_rates

LABELS = ("difference", "fcn")


def make_cube(n_mlt=24, labels=LABELS, common=True):
    """Four quadrant cells of the sky to 80° zenith; MLT bins in the afternoon not observed.

    Cell 0 (azimuth 0-90) has aurora on every frame, cell 1 on none, cell 2 was never
    observed, cell 3 has aurora on a quarter of the frames. A day has 400 frames.
    """
    centres, bounds = mlt_bounds(n_mlt)
    shape = (2, len(labels), n_mlt, 4)
    observed = np.full(shape, 2000, np.int32)
    observed[:, :, n_mlt // 2 : n_mlt // 2 + 2] = 0
    observed[..., 2] = 0
    aurora = (observed * np.array([1.0, 0.0, 0.0, 0.25])).astype(np.int32)
    shared = observed // 2 * common
    counts = np.stack([observed, aurora, shared, aurora // 2 * common])
    quarters = np.arange(0, 360, 90, dtype=np.float32)
    return with_rates(
        xr.Dataset(
            {
                "counts": (
                    ("outcome", "time", "detector", "mlt", "cell"),
                    counts,
                ),
                "n_days": (
                    ("outcome", "time", "detector", "mlt", "cell"),
                    -(-counts // 400),
                ),
            },
            {
                "outcome": list(OUTCOMES),
                "time": np.array(["2018-06-01", "2020-06-01"], "datetime64[s]"),
                "detector": list(labels),
                "mlt": centres,
                "mlt_bounds": (("mlt", "bound"), bounds),
                "cell_azimuth_deg": ("cell", quarters + 45),
                "cell_zenith_bounds": (("cell", "bound"), np.tile([0.0, 80.0], (4, 1))),
                "cell_azimuth_bounds": (("cell", "bound"), np.stack([quarters, quarters + 90], 1)),
            },
            {
                "site": "TST",
                "cloud_screening": "none",
                "azimuth_reference": "magnetic",
                "north_azimuth_deg": 70.0,
                "sun_elevation_max_deg": -15.0,
                "moon_elevation_max_deg": "none",
                "cell_fraction_min": 0.5,
                "site_latitude_deg": -74.62,
                "site_longitude_deg": 164.22,
                "emission_height_km": 110.0,
                "magnetic_epoch": "2018-01-01",
            },
        )
    )
