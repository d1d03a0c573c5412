"""What one training learns from, is chosen by and is scored on, and how that is told."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from reprocess.errors import ConfigurationError
from reprocess.train.dataset import VALIDATION_FROM, Frames, cached_frames, join_frames
from reprocess.train.recipe import Recipe

SCENES_PER_SEED = 100_000
SIMULATED_DATA = (
    "rendered by reprocess.simulate; no real image was trained on, though the simulator's ranges "
    "were widened after looking at some"
)
SIMULATED_USE = "the sample campaign and tests; on a real camera only as a first look"
LABELLED_USE = "the cameras, seasons and labelling rules of its training frames; elsewhere a guess"
SIMULATED_CAUTION = (
    "scores on simulated frames flatter: the network learned from the same simulator"
)


@dataclass(frozen=True, eq=False)
class Data:
    """Frames of one training.

    Attributes
    ----------
    training, validation : learned from; choosing the best weights
    tests : scored once, at the end, by name
    said, split : what and which they are, for the card
    """

    training: Frames
    validation: Frames
    tests: dict[str, Frames]
    said: dict[str, Any]
    split: dict[str, Any]
    simulated_only: bool

    @property
    def intended_use(self) -> str:
        return SIMULATED_USE if self.simulated_only else LABELLED_USE

    @property
    def caution(self) -> str:
        """What must be said beside the scores."""
        parts = ["by pixel, threshold 0.5; the validation frames chose the weights"]
        if "simulated" in self.said:
            parts.append(SIMULATED_CAUTION)
        return "; ".join(parts)

    @cached_property
    def _digest(self) -> str:
        digests = self.training.digest() + self.validation.digest()
        return hashlib.sha256(digests.encode()).hexdigest()

    def digest(self) -> str:
        """SHA-256 of the frames and masks of training and validation, in hexadecimal."""
        return self._digest

    def text(self) -> str:
        """One line for the log."""
        tests = ", ".join(f"{len(frames)} {name}" for name, frames in self.tests.items())
        return (
            f"frames: {len(self.training)} training ({self.training.aurora_share:.1%} of the "
            f"pixels aurora), {len(self.validation)} validation, {tests or 'none to test'}"
        )


def gather_data(options: argparse.Namespace, recipe: Recipe) -> Data:
    """Read the labelled frames and render the simulated ones.

    Raises
    ------
    ConfigurationError
        If there are none to learn from or to validate with.
    """
    if (options.data is None) != (options.split is None):
        raise ConfigurationError(
            "--data and --split: found one of them, expected both; `reprocess labels split` makes "
            "a split"
        )
    if options.data is None and options.simulated < 1:
        raise ConfigurationError(
            "expected frames to learn from: --data DIR --split FILE, --simulated N, or both"
        )
    training: list[Frames] = []
    tests: dict[str, Frames] = {}
    said: dict[str, Any] = {}
    split: dict[str, Any] = {}
    validation: Frames | None = None
    if options.simulated:
        first = max(recipe.seed - 1, 0) * SCENES_PER_SEED
        size, processes = recipe.size_px, options.threads or 1
        training.append(
            cached_frames(
                options.cache, "training", first, options.simulated, size, processes=processes
            )
        )
        last = first + options.simulated - 1
        split["simulated"] = {"training": f"family training, scenes {first} to {last}"}
        if options.data is None:
            validation = cached_frames(
                options.cache, "training", VALIDATION_FROM, options.validation, size,
                processes=processes,
            )  # fmt: skip
            split["simulated"]["validation"] = (
                f"family training, {options.validation} scenes from {VALIDATION_FROM} on"
            )
        if options.test:
            tests["test_simulated"] = cached_frames(
                options.cache, "test", 0, options.test, size, processes=processes
            )
            split["simulated"]["test"] = (
                f"family test, scenes 0 to {options.test - 1}; ranges disjoint from training"
            )
        empty = float((~training[0].aurora.any(axis=(1, 2))).mean())
        said["simulated"] = {
            "frames": options.simulated, "what": SIMULATED_DATA,
            "without_visible_aurora": round(empty, 3),
        }  # fmt: skip
    if validation is None or not len(validation):
        raise ConfigurationError(
            "expected frames to validate with, of which the best weights are chosen; found none"
        )
    return Data(
        join_frames(training) if len(training) > 1 else training[0],
        validation, tests, said, split, simulated_only=options.data is None,
    )  # fmt: skip
