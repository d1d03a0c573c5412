"""What one training learns from, is chosen by and is scored on, and how that is told."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reprocess.errors import ConfigurationError
from reprocess.labels import read_labels
from reprocess.labels.splits import read_split
from reprocess.train.dataset import VALIDATION_FROM, Frames, cached_frames, join_frames
from reprocess.train.recipe import Recipe

SCENES_PER_SEED = 100_000
TEST_FAMILIES = ("test", "held-out")
"""Scored at the end: what the sample campaign is made of, and lens, cloud and form never seen."""
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
    if options.data is None and options.validation < 1:
        raise ConfigurationError(
            f"--validation {options.validation}: expected frames to validate with, of which the "
            f"best weights are chosen"
        )
    labelled = None if options.data is None else _labelled(options.data, options.split, recipe)
    simulated = _simulated(options, recipe) if options.simulated else None
    both = [part for part in (labelled, simulated) if part is not None]
    validation = both[0].validation
    if not len(validation):
        raise ConfigurationError(
            f"--split {options.split}: found no validation images, expected frames to validate "
            f"with, of which the best weights are chosen"
        )
    return Data(
        join_frames([part.training for part in both]) if len(both) > 1 else both[0].training,
        validation,
        {name: frames for part in both for name, frames in part.tests.items()},
        {name: text for part in both for name, text in part.said.items()},
        {name: text for part in both for name, text in part.split.items()},
        simulated_only=labelled is None,
    )


def _labelled(directory: Path, split_path: Path, recipe: Recipe) -> Data:
    """The labelled images of a folder, by the parts of a split."""
    split = read_split(split_path)
    labels = read_labels(directory, recipe.size_px)
    if split.labels != labels.digest:
        raise ConfigurationError(
            f"--split {split_path}: is of a labelled set of digest {split.labels}, found "
            f"{labels.digest} in {directory}; make the split again, the same seed and images give "
            f"the same parts"
        )
    parts = {}
    for part in ("training", "validation", "test"):
        rows = split.rows(labels.index, part)
        parts[part] = Frames(labels.image[rows], labels.mask[rows])
    if not len(parts["training"]):
        raise ConfigurationError(f"--split {split_path}: found no training images, expected some")
    stations, cameras = (sorted(set(v.tolist())) for v in (labels.station, labels.camera))
    times = labels.time
    said = {
        "images": len(labels), "sha256": labels.digest, "stations": stations, "cameras": cameras,
        "cameras_assumed": sorted(labels.assumed),
        "from": f"{times.min()}Z", "to": f"{times.max()}Z",
    }  # fmt: skip
    tests = {"test": parts["test"]} if len(parts["test"]) else {}
    return Data(
        parts["training"], parts["validation"], tests,
        {"labelled": said}, {"labelled": split.document()}, simulated_only=False,
    )  # fmt: skip


def _simulated(options: argparse.Namespace, recipe: Recipe) -> Data:
    """Frames of the simulator; validated on only where there are no labelled ones."""
    first = max(recipe.seed - 1, 0) * SCENES_PER_SEED

    def frames(family: str, start: int, count: int) -> Frames:
        processes = options.threads or 1
        return cached_frames(
            options.cache, family, start, count, recipe.size_px, processes=processes
        )

    family = options.family
    training = frames(family, first, options.simulated)
    split = {"training": f"family {family}, scenes {first} to {first + options.simulated - 1}"}
    n_validation = options.validation if options.data is None else 0
    if n_validation:
        split["validation"] = f"family {family}, {n_validation} scenes from {VALIDATION_FROM} on"
    tests = {}
    for name in TEST_FAMILIES if options.test else ():
        tests[f"simulated_{name}"] = frames(name, 0, options.test)
        split[name] = f"family {name}, scenes 0 to {options.test - 1}"
    empty = float((~training.aurora.any(axis=(1, 2))).mean())
    said = {
        "frames": options.simulated, "what": SIMULATED_DATA,
        "without_visible_aurora": round(empty, 3),
    }  # fmt: skip
    return Data(
        training, frames(family, VALIDATION_FROM, n_validation), tests,
        {"simulated": said}, {"simulated": split}, simulated_only=True,
    )  # fmt: skip
