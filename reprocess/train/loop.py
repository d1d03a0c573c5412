"""The training loop: balanced cross-entropy on the coarse logits, Adam, cosine schedule."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from reprocess.detectors.networks import build_network, logit_difference
from reprocess.detectors.weights import save_network
from reprocess.train.dataset import Frames, batch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    The first `small_share` of the run sees frames at half size, four times as
    many a second; the rest at full size. The learning rate rises for 3 % of
    the run and falls on a cosine to a hundredth.
    """

    architecture: str = "fcn_resnet18"
    seed: int = 1
    size_px: int = 256
    batch_frames: int = 12
    small_share: float = 0.45
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    minutes: float = 30.0
    steps: int | None = None
    """When given, the run has so many steps and `minutes` is ignored."""
    checkpoint_minutes: float = 4.0


@dataclass(frozen=True)
class Score:
    """Pixel scores of the thresholded (0.5) upsampled mask against the truth.

    `empty_false` is the share of pixels called aurora on frames without any.
    """

    precision: float
    recall: float
    f1: float
    iou: float
    empty_false: float
    frames: int

    def as_card(self) -> dict[str, float]:
        return {key: round(float(value), 4) for key, value in asdict(self).items()}


@dataclass
class Progress:
    """What a run has done so far; `history` holds (step, minutes, validation F1)."""

    step: int = 0
    minutes: float = 0.0
    loss: float = float("nan")
    history: list[tuple[int, float, float]] = field(default_factory=list)


def normalise(images: NDArray[np.uint8], mean: list[float], std: list[float]) -> Tensor:
    """(n, 3, y, x) float32 network input from (n, y, x, 3) uint8 frames."""
    scale = torch.tensor([255.0 * s for s in std])
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)])
    pixels = torch.from_numpy(images).to(torch.float32) / scale - shift
    return pixels.permute(0, 3, 1, 2)


def coarse_loss(logits: Tensor, share: Tensor, positive_weight: float) -> Tensor:
    """Cross-entropy of the two classes with the share of aurora as soft target.

    Softmax over two classes is the logistic function of their logit
    difference. The rarer class, aurora, weighs `positive_weight` times more.
    """
    return functional.binary_cross_entropy_with_logits(
        logit_difference(logits), share, pos_weight=torch.tensor(positive_weight)
    )


def positive_weight(frames: Frames) -> float:
    """Fourth root of the ratio of background to aurora pixels, at most 2.5.

    The full ratio would balance the classes but move the 0.5 contour well
    outside the aurora (its square root still doubled the area found: precision
    0.50, recall 0.82 on the validation scenes); the fourth root keeps faint
    forms without that.
    """
    share = max(float(frames.aurora.mean()), 1e-3)
    return float(min(((1 - share) / share) ** 0.25, 2.5))


def train(
    frames: Frames,
    validation: Frames,
    recipe: Recipe,
    mean: list[float],
    std: list[float],
    out: Path,
    card: dict[str, Any],
    start: nn.Module | None = None,
) -> tuple[nn.Module, Progress]:
    """Train a network, saving the best so far every few minutes.

    Parameters
    ----------
    frames, validation : what to learn from, and what decides the best checkpoint
    out : the weights file; it exists from the first checkpoint on
    card : written into the file, with the validation score
    start : a trained network to go on from (its weights are copied)

    Notes
    -----
    With a time budget the number of steps depends on the machine, so only a
    run with `recipe.steps` is repeated bit by bit (on one machine, with one
    thread); the card says how many steps there were.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng([recipe.seed, 101])
    network = build_network(recipe.architecture).to(memory_format=torch.channels_last)
    if start is not None:
        network.load_state_dict(start.state_dict())
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    weight = positive_weight(frames)
    progress, best, last = Progress(), -1.0, 0.0
    began = time.monotonic()
    network.train()
    for part in _until_done(progress, recipe, began):
        small = part < recipe.small_share
        size = recipe.size_px // 2 if small else recipe.size_px
        count = recipe.batch_frames * (3 if small else 1)
        rate = recipe.learning_rate * _schedule(part)
        for group in optimiser.param_groups:
            group["lr"] = rate
        images, share = batch(frames, size, count, rng)
        logits = network(normalise(images, mean, std))
        loss = coarse_loss(logits, torch.from_numpy(share), weight)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        progress.step += 1
        value = float(loss.detach())
        progress.loss = value if progress.step == 1 else 0.97 * progress.loss + 0.03 * value
        progress.minutes = (time.monotonic() - began) / 60.0
        if progress.minutes - last >= recipe.checkpoint_minutes:
            last = progress.minutes
            best = _checkpoint(network, validation, recipe, mean, std, out, card, progress, best)
    _checkpoint(network, validation, recipe, mean, std, out, card, progress, best)
    return network, progress


def evaluate(network: nn.Module, frames: Frames, mean: list[float], std: list[float]) -> Score:
    """Score a network at full size, threshold 0.5, without augmentation."""
    was_training = network.training
    network.eval()
    hit = false = missed = empty_false = empty_pixels = 0
    with torch.inference_mode():
        for index in range(len(frames)):
            logits = network(normalise(frames.image[index : index + 1], mean, std))
            difference = logit_difference(logits)[:, None]
            full = functional.interpolate(
                difference, size=frames.aurora.shape[1:], mode="bilinear", align_corners=False
            )
            found = (full[0, 0] >= 0).numpy()
            truth = frames.aurora[index]
            hit += int((found & truth).sum())
            false += int((found & ~truth).sum())
            missed += int((~found & truth).sum())
            if not truth.any():
                empty_false += int(found.sum())
                empty_pixels += found.size
    network.train(was_training)
    return Score(
        precision=hit / max(hit + false, 1),
        recall=hit / max(hit + missed, 1),
        f1=2 * hit / max(2 * hit + false + missed, 1),
        iou=hit / max(hit + false + missed, 1),
        empty_false=empty_false / max(empty_pixels, 1),
        frames=len(frames),
    )


def _until_done(progress: Progress, recipe: Recipe, began: float) -> Iterator[float]:
    """The share of the run that is over, until it is."""
    while True:
        if recipe.steps is not None:
            part = progress.step / recipe.steps
        else:
            part = (time.monotonic() - began) / (60.0 * recipe.minutes)
        if part >= 1.0:
            return
        yield part


def _schedule(part: float) -> float:
    rise = min(1.0, (part + 1e-3) / 0.03)
    return float(rise * (0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * part))))


def _checkpoint(
    network: nn.Module,
    validation: Frames,
    recipe: Recipe,
    mean: list[float],
    std: list[float],
    out: Path,
    card: dict[str, Any],
    progress: Progress,
    best: float,
) -> float:
    score = evaluate(network, validation, mean, std)
    progress.history.append((progress.step, round(progress.minutes, 2), round(score.f1, 4)))
    log.info(
        "step %d, %.1f min, loss %.4f, validation %s",
        progress.step, progress.minutes, progress.loss, score.as_card(),
    )  # fmt: skip
    if score.f1 <= best:
        return best
    whole = card | {
        "recipe": asdict(recipe),
        "steps": progress.step,
        "minutes": round(progress.minutes, 2),
        "validation": score.as_card(),
    }
    save_network(out, network, recipe.architecture, mean, std, whole)
    return score.f1
