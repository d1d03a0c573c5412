"""How a network is trained: every number that decides the result, in one frozen value.

Two trainings of one recipe on the same frames give the same bytes, on one kind of CPU with as
many threads and the same versions. What does not decide the result (time limits, folders,
threads that prepare frames) is not in here. Knows nothing of torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from reprocess.detectors.weights import ARCHITECTURES
from reprocess.errors import ConfigurationError

STRIDE = 8
SMALL_BATCHES = 3
"""A batch of the first phase has so many times more frames, of a quarter of the pixels."""
WARM_UP = 0.03
"""Share of the run in which the learning rate rises."""

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which each frame's changes are drawn; `augment` says what each does."""

    zoom: tuple[float, float] = (0.85, 1.15)
    turn: bool = True
    mirror: bool = True
    gain_log_sigma: float = 0.25
    tint_log_sigma: float = 0.08
    offset_dn: tuple[float, float] = (-4.0, 8.0)
    blur_share: float = 0.3
    blur_px: tuple[float, float] = (0.4, 1.2)
    noise_share: float = 0.4
    noise_dn: tuple[float, float] = (0.5, 5.0)
    jpeg_share: float = 0.4
    jpeg_quality: tuple[int, int] = (50, 95)


NO_AUGMENTATION = Augmentation(
    zoom=(1.0, 1.0), turn=False, mirror=False, gain_log_sigma=0.0, tint_log_sigma=0.0,
    offset_dn=(0.0, 0.0), blur_share=0.0, noise_share=0.0, jpeg_share=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Settings of one training.

    Attributes
    ----------
    size_px : side of a frame, a multiple of 16
    batch_frames : frames a step, over all processes together
    steps : length of the schedule; the learning rate rises for 3 % of it and falls on a cosine to
        a hundredth
    small_share : share of the steps, at the start, that see frames at half size, three times as
        many a step: as much is learned in less time
    positive_weight : how much more a pixel of aurora weighs in the loss than one of background;
        None: from the frames, see `loss.positive_weight`
    freeze_batch_norm : keep the batch normalisation of the network that was started from
    precision : of the network's arithmetic; float16 on CUDA only
    evaluate_every : steps between two evaluations on the validation frames
    patience : evaluations at full size without a better validation IoU after which the training
        ends; None: never
    """

    architecture: str = "fcn_resnet18"
    seed: int = 1
    size_px: int = 256
    batch_frames: int = 12
    steps: int = 3000
    small_share: float = 0.45
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    positive_weight: float | None = None
    freeze_batch_norm: bool = False
    precision: Precision = "float32"
    evaluate_every: int = 200
    patience: int | None = 10
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        rules = {
            "architecture": (self.architecture in ARCHITECTURES, " or ".join(ARCHITECTURES)),
            "seed": (self.seed >= 0, "0 or more"),
            "size_px": (self.size_px >= 32 and self.size_px % 16 == 0, "a multiple of 16, from 32"),
            "batch_frames": (self.batch_frames >= 1, "1 or more"),
            "steps": (self.steps >= 1, "1 or more"),
            "small_share": (0 <= self.small_share <= 1, "0 to 1"),
            "learning_rate": (_positive(self.learning_rate), "above 0"),
            "weight_decay": (0 <= self.weight_decay < 1, "0 or more, below 1"),
            "positive_weight": (
                self.positive_weight is None or _positive(self.positive_weight), "above 0",
            ),
            "evaluate_every": (self.evaluate_every >= 1, "1 or more"),
            "patience": (self.patience is None or self.patience >= 1, "1 or more"),
        }  # fmt: skip
        for name, (holds, expected) in rules.items():
            if not holds:
                raise ConfigurationError(
                    f"training: {name} is {getattr(self, name)!r}, expected {expected}"
                )

    def is_small(self, step: int) -> bool:
        """Whether a step (from 0) sees frames at half size."""
        return step < self.small_share * self.steps

    def shape(self, step: int) -> tuple[int, int]:
        """Frames of a step and their side in pixels."""
        if self.is_small(step):
            return self.batch_frames * SMALL_BATCHES, self.size_px // 2
        return self.batch_frames, self.size_px

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        part = step / self.steps
        rise = min(1.0, (part + 1e-3) / WARM_UP)
        fall = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * part))
        return self.learning_rate * rise * fall

    def as_card(self) -> dict[str, Any]:
        """As it stands in the model card, and in the state that a training is resumed from."""
        return asdict(self)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
