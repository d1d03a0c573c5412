"""Scores on simulated families that no training scene had a part in.

    python workflows/held_out_families.py --weights A.safetensors B.safetensors
        --out docs/simulator.md

draws `--frames` scenes of each family (`reprocess.simulate.wide`), asks each network, and scores
pixels at probability 0.5. The scenes of `wide` are neither of those that networks are trained on
nor of those that choose their best weights. Beside the networks stands a threshold on colour and
brightness, tuned to its best F1 on the `wide` scenes of the table: generous there, honest on the
held-out families. The band of doubt about the aurora's edge is left out of precision and recall;
how much of it is flagged is told apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from network_pages import SHIPPED, network_name, publish
from numpy.typing import NDArray

from reprocess.detectors.weights import load_network
from reprocess.labels import AURORA, BACKGROUND, UNJUDGED
from reprocess.scoring.confusion import confusion
from reprocess.scoring.levels import ColourRule, tune_colour
from reprocess.train.dataset import VALIDATION_FROM, render_frames
from reprocess.train.score import aurora_masks

FAMILIES = ("wide", "held-out-camera", "held-out-cloud", "held-out-aurora", "held-out", "test")
FIRST = {"wide": VALIDATION_FROM + 50_000_000}
"""Training ends before `VALIDATION_FROM`; the scenes next after it choose the best weights."""
SOFT_PX = 3.0


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
    publish(table(options.weights, options.frames, options.size), options.out)
    return 0


def table(weights: Sequence[str], frames: int, size_px: int) -> str:
    """The scores of every method on every family, as Markdown."""
    networks = {network_name(w): load_network(w) for w in weights}
    head = ["family", "method", "precision", "recall", "F1", "false on empty skies", "band flagged"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    rule: ColourRule | None = None
    for family in FAMILIES:
        drawn = render_frames(family, FIRST.get(family, 0), frames, size_px)
        soft = softened(drawn.image)
        if rule is None:
            rule = tune_colour(soft, drawn.aurora, drawn.mask != UNJUDGED)
        flagged = {
            name: np.concatenate(
                [aurora_masks(n.network, image[None], n.mean, n.std) for image in drawn.image]
            )
            for name, n in networks.items()
        }
        flagged["colour and brightness"] = rule.flags(soft)
        for method, masks in flagged.items():
            lines.append(" | ".join([f"`{family}`", method, *scores(masks, drawn.mask)]))
    assert rule is not None
    return (
        "\n".join(f"| {line} |" for line in lines)
        + f"\n\n{frames} scenes of {size_px} px a family; colour and brightness: (R + G + B) / 3 ≥ "
        f"{rule.brightness_dn:.1f} DN and G − (R + B) / 2 ≥ {rule.excess_dn:.1f} DN.\n"
    )


def softened(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, y, x, 3) counts, smoothed as far as the network's grid sees."""
    return np.stack([cv2.GaussianBlur(i.astype(np.float32), (0, 0), SOFT_PX) for i in images])


def scores(flagged: NDArray[np.bool_], mask: NDArray[np.uint8]) -> list[str]:
    """Precision, recall, F1, and the shares flagged of empty skies and of the band of doubt.

    Parameters
    ----------
    flagged, mask : (n, y, x), one method on all scenes of a family. An empty sky has neither
        aurora nor a band of doubt.

    Returns
    -------
    texts, "–" where there is nothing to divide by
    """
    truth, judged = mask == AURORA, mask != UNJUDGED
    of_all = confusion(flagged, truth, judged)
    empty = (mask == BACKGROUND).all(axis=(1, 2))
    of_empty = confusion(flagged[empty], truth[empty], judged[empty])
    of_doubt = confusion(flagged, ~judged, ~judged)
    return [
        *(_text(".3f", share) for share in (of_all.precision, of_all.recall, of_all.f1)),
        _text(".2%", of_empty.false_rate),
        _text(".0%", of_doubt.recall),
    ]


def _text(form: str, share: float) -> str:
    return "–" if np.isnan(share) else format(share, form).replace("%", " %")


if __name__ == "__main__":
    raise SystemExit(main())
