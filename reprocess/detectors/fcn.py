"""Aurora as seen by a fully convolutional network: one logit difference a coarse pixel.

Evidence is `logit[aurora] - logit[background]` on the network's own grid, an
eighth of the image, as float16. Upsampling that one channel and testing
>= 0 is exactly softmax >= 0.5, so thresholds and masks can be redone without
an image. torch is imported only where a network runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch, Campaign, Fcn
from reprocess.detectors.coverage import cell_shares, logit
from reprocess.detectors.detector import (
    FRACTION_UNOBSERVED,
    Evidence,
    EvidenceStatus,
    EvidenceVariable,
)
from reprocess.detectors.runtimes import available_cores, open_runtime, runtime_profile
from reprocess.detectors.weights import weights_digest
from reprocess.geometry.calibration import epoch_geometry

if TYPE_CHECKING:
    from reprocess.archive.frames import FrameBlock

STRIDE = 8
LOGIT = "logit"
# Raised when the way from frame to logits changes: all evidence is then stale.
VERSION = 1


@dataclass(frozen=True)
class FcnDetector:
    """A network with one campaign section's settings."""

    label: str
    settings: Fcn

    @property
    def kind(self) -> str:
        return "fcn"

    @property
    def context_s(self) -> float:
        return 0.0

    @property
    def uses_geometry(self) -> bool:
        return False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights file, read once: what the fingerprints stand for."""
        return weights_digest(self.settings.weights)

    def variables(self, campaign: Campaign) -> tuple[EvidenceVariable, ...]:
        size = campaign.image.size_px // STRIDE
        return (
            EvidenceVariable(
                name=LOGIT,
                dims=("v", "u"),
                shape=(size, size),
                dtype="float16",
                fill=float("nan"),
                attrs={
                    "long_name": "aurora minus background logit on the network's grid",
                    "units": "1",
                    "comment": f"one value for {STRIDE} x {STRIDE} pixels; upsample bilinearly "
                    "with half-pixel centres, then aurora probability = 1 / (1 + exp(-logit))",
                },
            ),
        )

    def evidence_settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": VERSION,
            "weights": self.digest,
            "runtime": self.settings.runtime,
            "precision": self.settings.precision,
        }

    def rule(self) -> dict[str, Any]:
        return {"threshold": self.settings.threshold}

    def detection_settings(self, epoch: CameraEpoch) -> dict[str, Any]:  # noqa: ARG002
        return self.rule()

    def profile(self) -> str:
        """Device kind, instruction set, runtime and its version, precision."""
        return f"{runtime_profile(self.settings.runtime)} {self.settings.precision}"

    def measure(
        self,
        block: FrameBlock,
        context: FrameBlock | None,  # noqa: ARG002 - each frame stands for itself
        campaign: Campaign,
        threads: int | None = None,
    ) -> Evidence:
        n = len(block.acquired)
        (variable,) = self.variables(campaign)
        size = campaign.image.size_px
        if block.image.shape[1:] != (size, size, 3):
            raise ValueError(f"frames of {block.image.shape[1:]}, the campaign's are {size} px")
        values = np.empty((n, *variable.shape), np.float16)
        if n:
            asked = self.settings
            runtime = open_runtime(asked.runtime, asked.weights, self.digest, size, asked.precision)
            values[:] = runtime.logits(block.image, threads or available_cores())
        status = np.full(n, EvidenceStatus.OBSERVED, np.uint8)
        return Evidence(block.acquired.copy(), block.slot.copy(), status, {LOGIT: values})

    def fractions(
        self,
        evidence: Evidence,
        epoch: NDArray[np.int64],
        campaign: Campaign,
        threads: int = 1,
    ) -> NDArray[np.uint8]:
        logits = evidence.values[LOGIT]
        n_cells = epoch_geometry(campaign, campaign.camera[0]).cells.n_cells
        result = np.full((len(logits), n_cells), FRACTION_UNOBSERVED, np.uint8)
        limit = logit(self.settings.threshold)
        for index in np.unique(epoch[epoch >= 0]):
            cellmap = epoch_geometry(campaign, campaign.camera[index]).cellmap
            frames = (epoch == index) & (evidence.status == EvidenceStatus.OBSERVED)
            share = cell_shares(
                logits[frames], cellmap.cell, cellmap.weight, n_cells, limit, threads
            )
            share[:, ~cellmap.observed] = FRACTION_UNOBSERVED
            result[frames] = share
        return result
