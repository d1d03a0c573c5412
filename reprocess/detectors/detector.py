"""What a detector is: evidence measured from frames, then shares of sky cells.

Evidence is the durable result of the expensive half and knows no threshold.
Fractions are a pure function of evidence, calibration, cells and thresholds,
so they are redone for years without an image or a network.

Names map to classes in `DETECTORS` and are imported when asked for: a machine
that only plans or counts needs neither torch nor numba.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch, Campaign, Difference, Fcn
from reprocess.errors import ConfigurationError

if TYPE_CHECKING:
    from reprocess.archive.frames import FrameBlock

FRACTION_FULL = 254
FRACTION_UNOBSERVED = 255


class EvidenceStatus(IntEnum):
    """Whether a detector observed a frame, and if not, why not.

    EXPOSURE_CHANGED: exposure or gain of the two frames differ, or only one of
    them tells it; archives that tell neither never get it. EPOCH_CHANGED also marks a frame
    from before the first camera epoch: there is no calibration for it.
    """

    NO_FRAME = 0
    OBSERVED = 1
    NO_PARTNER = 2
    EXPOSURE_CHANGED = 3
    SKY_SHIFTED = 4
    EPOCH_CHANGED = 5
    UNREADABLE = 6


@dataclass(frozen=True)
class EvidenceVariable:
    """One stored array of a detector's evidence; `dims` and `shape` are those after time."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    fill: float
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What one detector measured on n frames, in their order.

    Attributes
    ----------
    acquired : (n,) datetime64[us], UTC
    slot : (n,) int64, index in the day
    status : (n,) uint8, `EvidenceStatus`
    values : name -> (n, ...) array, as `Detector.variables` declares it
        The variable's fill value where the frame is not observed.
    """

    acquired: NDArray[np.datetime64]
    slot: NDArray[np.int64]
    status: NDArray[np.uint8]
    values: Mapping[str, NDArray[Any]]


class Detector(Protocol):
    """A way to see aurora. Two are shipped: `difference` and `fcn`."""

    @property
    def kind(self) -> str:
        """The name in `DETECTORS`."""

    @property
    def label(self) -> str:
        """The campaign's name for this detector with these settings."""

    @property
    def context_s(self) -> float:
        """Seconds before a frame from which earlier frames are needed; 0 for none."""

    @property
    def uses_geometry(self) -> bool:
        """Whether the evidence depends on calibration and cells."""

    def variables(self, campaign: Campaign) -> tuple[EvidenceVariable, ...]:
        """The arrays that `measure` returns."""

    def evidence_settings(self) -> dict[str, Any]:
        """JSON-able settings that decide the evidence. Thresholds are not among them."""

    def rule(self) -> dict[str, Any]:
        """JSON-able thresholds, without the noise they may be multiples of."""

    def detection_settings(self, epoch: CameraEpoch) -> dict[str, Any]:
        """JSON-able `rule`, and the noise it is a multiple of.

        Raises
        ------
        ConfigurationError
            If a threshold needs a noise estimate that the epoch does not have.
        """

    def profile(self) -> str:
        """The compute profile within which evidence is the same bit for bit."""

    def measure(
        self,
        block: FrameBlock,
        context: FrameBlock | None,
        campaign: Campaign,
        threads: int | None = None,
    ) -> Evidence:
        """Measure the evidence of a block's frames.

        Parameters
        ----------
        block : frames sorted by `acquired`. Not modified.
        context : earlier frames, sorted; may be from the day before. Not modified.
        threads : frames measured at one time, default the cores this process may
            use; never changes the result

        Notes
        -----
        Pure and deterministic within `profile`. The result of a frame is the
        same however a day is cut into blocks, as long as the context reaches
        back `context_s`.
        """

    def fractions(
        self,
        evidence: Evidence,
        epoch: NDArray[np.int64],
        campaign: Campaign,
        threads: int = 1,
    ) -> NDArray[np.uint8]:
        """Shares of the sky cells with aurora.

        Parameters
        ----------
        evidence : of n frames. Not modified.
        epoch : (n,) int64, index of each frame's camera epoch, -1 before the first
        threads : cores that this call may use

        Returns
        -------
        (n, cell) uint8 array
            floor(254 × share of the cell's visible solid angle); 255 = not
            observed, for frames and for cells that are not visible.
        """


DETECTORS: dict[str, str] = {
    "difference": "reprocess.detectors.difference:DifferenceDetector",
    "fcn": "reprocess.detectors.fcn:FcnDetector",
}


def load_detector(label: str, settings: Difference | Fcn) -> Detector:
    """Build a detector from its section of the campaign; nothing heavy is loaded yet.

    Raises
    ------
    ConfigurationError
        If the kind is unknown; the known ones are listed.
    """
    if settings.kind not in DETECTORS:
        raise ConfigurationError(
            f"detectors.{label}.kind: {settings.kind!r} is unknown; "
            f"expected one of {', '.join(sorted(DETECTORS))}"
        )
    module, _, name = DETECTORS[settings.kind].partition(":")
    build = getattr(importlib.import_module(module), name)
    return cast(Detector, build(label, settings))
