"""Pixel scores while training: what chooses the best weights and when to stop.

How far a network can be trusted is not told here but by an evaluation on frames that had no part
in the training.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from reprocess.detectors.networks import logit_difference
from reprocess.labels import AURORA, UNJUDGED
from reprocess.scoring.confusion import Confusion, confusion
from reprocess.train.dataset import Frames
from reprocess.train.ranks import CPU, Ranks

ALONE = Ranks()


@dataclass(frozen=True)
class Score:
    """Pixel scores of the thresholded (0.5) upsampled mask against the judged part of the truth.

    NaN where there is nothing to divide by. `empty_false` is the share of pixels called aurora on
    frames without any.
    """

    precision: float
    recall: float
    f1: float
    iou: float
    empty_false: float
    frames: int

    def as_card(self) -> dict[str, float | int | None]:
        """Rounded to four digits; None for NaN, which JSON lacks."""
        return {
            key: value if key == "frames" else None if np.isnan(value) else round(float(value), 4)
            for key, value in asdict(self).items()
        }


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(n, 3, y, x) float32 network input from (n, y, x, 3) uint8 frames, as a detector does."""
    shift = torch.tensor(mean, dtype=torch.float32, device=images.device).reshape(1, 3, 1, 1)
    scale = torch.tensor(std, dtype=torch.float32, device=images.device).reshape(1, 3, 1, 1)
    return (images.permute(0, 3, 1, 2).float() / 255 - shift) / scale


def aurora_masks(
    network: nn.Module,
    images: NDArray[np.uint8],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device = CPU,
) -> NDArray[np.bool_]:
    """Where a network in eval mode sees aurora, probability >= 0.5.

    Parameters
    ----------
    images : (n, y, x, 3) uint8 array, RGB counts. Not modified.

    Returns
    -------
    (n, y, x) bool array
    """
    with torch.inference_mode():
        counts = torch.from_numpy(np.array(images)).to(device)
        difference = logit_difference(network(normalise(counts, mean, std)))[:, None]
        full = functional.interpolate(
            difference, size=images.shape[1:3], mode="bilinear", align_corners=False
        )
        found: NDArray[np.bool_] = (full[:, 0] >= 0).cpu().numpy()
        return found


def evaluate(
    network: nn.Module,
    frames: Frames,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    ranks: Ranks = ALONE,
) -> Score:
    """Score a network at full size, without augmentation, in float32.

    The frames are shared among the processes, and each gets the score of all. A frame at a time,
    so that the score is the same however many processes there are.
    """
    was_training = network.training
    network.eval()
    counts = np.zeros((2, 4), np.int64)  # of all frames, and of those without aurora
    for index in range(ranks.rank, len(frames), ranks.size):
        mask = frames.mask[index]
        found = aurora_masks(network, frames.image[index : index + 1], mean, std, ranks.device)[0]
        truth = mask == AURORA
        pixels = astuple(confusion(found, truth, mask != UNJUDGED))
        counts[0] += pixels
        if not truth.any():
            counts[1] += pixels
    network.train(was_training)
    total = ranks.total(torch.from_numpy(counts).to(ranks.device)).tolist()
    scored, empty = (Confusion(*row) for row in total)
    return Score(
        precision=scored.precision,
        recall=scored.recall,
        f1=scored.f1,
        iou=scored.iou,
        empty_false=empty.false_rate,
        frames=len(frames),
    )
