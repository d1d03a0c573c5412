"""Balanced cross-entropy on the coarse logits, of what is judged only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from reprocess.detectors.networks import logit_difference
from reprocess.errors import ConfigurationError
from reprocess.train.dataset import Frames

POSITIVE_WEIGHT_MAX = 2.5


def summed_loss(logits: Tensor, share: Tensor, judged: Tensor, positive_weight: float) -> Tensor:
    """Cross-entropy of the two classes with the share of aurora as soft target, summed.

    Parameters
    ----------
    logits : (n, 2, h, w), background and aurora
    share : (n, h, w), 0 to 1
    judged : (n, h, w), 0 to 1: weight of each network cell; 0 leaves it out
    positive_weight : how much more aurora weighs than background

    Notes
    -----
    Softmax over two classes is the logistic function of their logit difference. Divide by the sum
    of `judged` for the mean. Computed in float32 whatever the network computes in.
    """
    return functional.binary_cross_entropy_with_logits(
        logit_difference(logits).float(),
        share,
        weight=judged,
        pos_weight=torch.tensor(positive_weight, device=logits.device),
        reduction="sum",
    )


def positive_weight(frames: Frames) -> float:
    """Fourth root of the ratio of background to aurora pixels, at least 1 and at most 2.5.

    The full ratio would balance the classes but move the 0.5 contour well outside the aurora (its
    square root still doubled the area found: precision 0.50, recall 0.82 on the simulator's
    validation scenes); the fourth root keeps faint forms without that.

    Raises
    ------
    ConfigurationError
        If there is no aurora in any frame, or nothing else.
    """
    share = frames.aurora_share
    if not 0.0 < share < 1.0:
        raise ConfigurationError(
            f"training: found {share:.0%} aurora in the judged pixels of {len(frames)} training "
            f"frames, expected some of both classes; are the masks 0, 128 and 255?"
        )
    return float(min(max(((1.0 - share) / share) ** 0.25, 1.0), POSITIVE_WEIGHT_MAX))
