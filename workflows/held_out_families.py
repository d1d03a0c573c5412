"""Scores on simulated families that no training scene had a part in.

    python workflows/held_out_families.py --weights A.safetensors B.safetensors
        --out docs/simulator.md

draws `--frames` scenes of each family (`reprocess.simulate.wide`), asks each network, and scores
pixels at probability 0.5. Beside them stands a threshold on colour and brightness, tuned to
its best F1 on the `wide` scenes of the table: generous there, honest on the held-out families.
The band of doubt about the aurora's edge is left out of precision and recall; how much of it is
flagged is told apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.detectors.weights import load_network
from reprocess.labels import AURORA, UNJUDGED
from reprocess.simulate.labelled import draw_scene
from reprocess.train.score import aurora_masks

SHIPPED = "package:fcn_resnet18_sim.safetensors"
FAMILIES = ("wide", "held-out-camera", "held-out-cloud", "held-out-aurora", "held-out", "test")
FIRST = {"wide": 900_000_000}
"""Scenes of the training family from there on are kept from training."""
MARK = "<!-- table -->"
BRIGHTNESS_DN = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 65.0, 90.0, 130.0)
EXCESS_DN = (-50.0, 0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 30.0)


@dataclass
class Counts:
    """Pixels of one family by what a method and the truth say."""

    hit: int = 0
    false: int = 0
    missed: int = 0
    empty_false: int = 0
    empty: int = 0
    doubt_found: int = 0
    doubt: int = 0

    def add(self, found: NDArray[np.bool_], mask: NDArray[np.uint8]) -> None:
        truth, doubt = mask == AURORA, mask == UNJUDGED
        clear = ~truth & ~doubt
        self.hit += int((found & truth).sum())
        self.false += int((found & clear).sum())
        self.missed += int((~found & truth).sum())
        self.doubt_found += int((found & doubt).sum())
        self.doubt += int(doubt.sum())
        if not truth.any() and not doubt.any():
            self.empty_false += int(found.sum())
            self.empty += found.size

    @property
    def f1(self) -> float:
        return 2 * self.hit / max(2 * self.hit + self.false + self.missed, 1)

    def row(self) -> list[str]:
        return [
            f"{self.hit / max(self.hit + self.false, 1):.3f}",
            f"{self.hit / max(self.hit + self.missed, 1):.3f}",
            f"{self.f1:.3f}",
            f"{100 * self.empty_false / max(self.empty, 1):.2f} %",
            f"{100 * self.doubt_found / max(self.doubt, 1):.0f} %",
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the families, score, and write or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", nargs="+", default=[SHIPPED], help="default the shipped ones")
    parser.add_argument("--frames", type=int, default=100, help="of each family; default 100")
    parser.add_argument("--size", type=int, default=256, help="side, pixels; default 256")
    parser.add_argument("--out", type=Path, help="page whose table is replaced, else it is printed")
    options = parser.parse_args(arguments)
    text = table(options.weights, options.frames, options.size)
    if options.out is None:
        print(text)
        return 0
    start, _, rest = options.out.read_text(encoding="utf-8").partition(MARK)
    end = rest.partition(MARK)[2]
    options.out.write_text(f"{start}{MARK}\n\n{text}\n{MARK}{end}", encoding="utf-8")
    return 0


def table(weights: Sequence[str], frames: int, size_px: int) -> str:
    """The scores of every method on every family, as Markdown."""
    networks = [load_network(w) for w in weights]
    head = ["family", "method", "precision", "recall", "F1", "false on empty skies", "band flagged"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    rule: tuple[float, float] | None = None
    for family in FAMILIES:
        drawn = list(_scenes(family, frames, size_px))
        if rule is None:
            rule = _tuned(drawn)
        found = {
            _name(w): [aurora_masks(n.network, image[None], n.mean, n.std)[0] for image, _ in drawn]
            for w, n in zip(weights, networks, strict=True)
        }
        found["colour and brightness"] = [
            (level >= rule[0]) & (excess >= rule[1])
            for level, excess in (_colours(image) for image, _ in drawn)
        ]
        for method, masks in found.items():
            counts = Counts()
            for mask, (_, truth) in zip(masks, drawn, strict=True):
                counts.add(mask, truth)
            lines.append(" | ".join([f"`{family}`", method, *counts.row()]))
    assert rule is not None
    return (
        "\n".join(f"| {line} |" for line in lines)
        + f"\n\n{frames} scenes of {size_px} px a family; colour and brightness: (R + G + B) / 3 ≥ "
        f"{rule[0]:g} DN and G − (R + B) / 2 ≥ {rule[1]:g} DN.\n"
    )


def _scenes(
    family: str, frames: int, size_px: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    first = FIRST.get(family, 0)
    for number in range(first, first + frames):
        scene = draw_scene(family, number, size_px)
        yield scene.image, scene.mask


def _colours(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Brightness and green excess, smoothed as far as the network's grid sees."""
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 3.0)
    level = soft.mean(axis=2)
    return level, soft[:, :, 1] - (soft[:, :, 0] + soft[:, :, 2]) / 2


def _tuned(
    drawn: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
) -> tuple[float, float]:
    counts = {(a, b): Counts() for a in BRIGHTNESS_DN for b in EXCESS_DN}
    for image, truth in drawn:
        level, excess = (c[::2, ::2] for c in _colours(image))
        for (a, b), count in counts.items():
            count.add((level >= a) & (excess >= b), truth[::2, ::2])
    return max(counts, key=lambda rule: counts[rule].f1)


def _name(weights: str) -> str:
    return Path(str(weights).removeprefix("package:")).stem


if __name__ == "__main__":
    raise SystemExit(main())
