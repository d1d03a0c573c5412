"""Which frames of committed detections are counted, and in which MLT bin: a selection at work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import Cube
from reprocess.cube.committed import Detections, Exposures
from reprocess.cube.count import mlt_bin_index, mlt_bin_of_cells, own_mlt_offset_h
from reprocess.cube.selection import cells_left_out, select
from reprocess.detectors.detector import FRACTION_UNOBSERVED
from reprocess.errors import ConfigurationError


@dataclass(frozen=True)
class ChosenDay:
    """One UTC day, by slot, as it is counted.

    Attributes
    ----------
    times : (n,) datetime64[us], UTC; NaT where there is no frame
    mlt : (n,) float32, MLT of the station, hours; NaN where there is no frame
    mlt_bin : (n,) int16, or (n, cell) where cells have an MLT of their own; -1 = none
    selected : (n,) bool, whether Sun, Moon and all other limits let the frame count
    fractions : label -> (n, cell) uint8, 255 = not observed, or a cell that does not count
    """

    day: date
    times: NDArray[np.datetime64]
    mlt: NDArray[np.float32]
    mlt_bin: NDArray[np.int16]
    selected: NDArray[np.bool_]
    fractions: Mapping[str, NDArray[np.uint8]]


class Chosen:
    """Committed detections under a selection.

    Parameters
    ----------
    source : which detections
    cube : limits and MLT bins, as in the campaign's section
    by_mlt : False puts all frames into one bin, those without MLT too

    Raises
    ------
    ConfigurationError
        If the cells' own MLT is wanted and the detections do not tell it.
    """

    def __init__(self, source: Detections, cube: Cube, *, by_mlt: bool = True) -> None:
        self._source = source
        self._cube = cube
        self._by_mlt = by_mlt
        self._left_out = np.zeros(source.n_cells, np.bool_)
        if cube.cell_elevation_min_deg > 0:
            self._left_out = cells_left_out(cube, source.cells["cell_zenith_bounds"][1][:, 1])
        self._offset_h = self._own_mlt() if cube.mlt == "cell" and by_mlt else None
        limited = cube.exposure_range_s is not None or cube.gain_range is not None
        self._exposures = Exposures(source) if limited else None

    def days(self) -> Iterator[ChosenDay]:
        """The committed days in order of time.

        Raises
        ------
        StoreError
            As `Detections.days` and `Exposures.read`.
        """
        for day in self._source.days():
            frame = day.frames()
            exposed = None
            if self._exposures is not None:
                exposed = self._exposures.read(day.day, frame["acquired"])
            # The fill value of `acquired` is NaT, which is not selected and has no group.
            times = frame["acquired"].view("datetime64[us]")
            selected = select(
                self._cube,
                times,
                frame["sun_elevation"],
                frame["moon_elevation"],
                None if exposed is None else exposed.exposure_s,
                None if exposed is None else exposed.gain,
            )
            fractions = {
                label: self._without(values["fraction"]) for label, values in day.values.items()
            }
            bins = self._mlt_bins(frame["mlt"])
            yield ChosenDay(day.day, times, frame["mlt"], bins, selected, fractions)

    def _mlt_bins(self, mlt: NDArray[np.float32]) -> NDArray[np.int16]:
        cube = self._cube
        if not self._by_mlt:
            return np.zeros(len(mlt), np.int16)
        if self._offset_h is None:
            return mlt_bin_index(mlt, cube.mlt_bins, cube.mlt_centred)
        return mlt_bin_of_cells(mlt, self._offset_h, cube.mlt_bins, cube.mlt_centred)

    def _without(self, fraction: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The fractions, those of cells that do not count not observed."""
        if not self._left_out.any():
            return fraction
        return np.where(self._left_out, np.uint8(FRACTION_UNOBSERVED), fraction)

    def _own_mlt(self) -> NDArray[np.float64]:
        """Each cell's MLT minus the station's, from the detections' own coordinates."""
        cells = self._source.cells
        if not {"cell_mlt_offset_h", "cell_zenith_deg"} <= set(cells):
            raise ConfigurationError(
                f"{self._source.objects.url}: detections without cell_mlt_offset_h, made by a "
                f"version before 0.2, cannot be counted by the cells' own MLT; run the campaign "
                f"again"
            )
        offset_h, zenith_deg = cells["cell_mlt_offset_h"][1], cells["cell_zenith_deg"][1]
        return own_mlt_offset_h(offset_h, zenith_deg, self._cube.mlt_elevation_min_deg)
