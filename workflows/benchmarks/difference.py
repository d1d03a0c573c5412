"""The difference statistic of 400 cells: our fused loop beside numpy and bincount.

The method drops a pair whose whole sky shifted (the median of Δ): our loop tests
for that as it sums. numpy does it once with `np.median`, and once not at all.
"""

from __future__ import annotations

import functools

import numpy as np
import yaml
from sidebyside import compare, save

from reprocess.archive.frames import FrameBlock
from reprocess.campaign import campaign_from_mapping
from reprocess.detectors.difference import DifferenceDetector
from reprocess.geometry.calibration import epoch_geometry
from reprocess.simulate.archive import sample_text

FRAMES = 240


def main() -> None:
    rows = []
    for size in (256, 512):
        document = yaml.safe_load(sample_text())
        document["image"] = {"size_px": size}
        campaign = campaign_from_mapping(document)
        label = "difference"
        detector = DifferenceDetector(label, campaign.detectors[label])
        rng = np.random.default_rng(size)
        images = rng.integers(0, 60, (FRAMES + 2, size, size, 3)).astype(np.uint8)
        times = np.datetime64("2021-06-01T12:00", "us") + np.arange(FRAMES + 2) * np.timedelta64(
            60, "s"
        )
        epoch = np.zeros(FRAMES + 2, np.int64)
        slots = np.arange(FRAMES + 2)
        context = FrameBlock(slots[:2], images[:2], times[:2], epoch[:2])
        block = FrameBlock(slots[2:], images[2:], times[2:], epoch[2:])
        geometry = epoch_geometry(campaign, campaign.camera[0])
        cell = geometry.cellmap.cell
        key = np.where(geometry.skymap.visible, cell, -1).ravel()
        inside = np.flatnonzero(key >= 0)
        key = key[inside]
        n_pixels = np.bincount(key, minlength=400)

        def ours(detector=detector, block=block, context=context, campaign=campaign):
            return detector.measure(block, context, campaign).values["delta"]

        def theirs(images=images, inside=inside, key=key, n_pixels=n_pixels, limit=None):
            out = np.full((FRAMES, 2, 2, 400), np.nan, np.float16)
            for i in range(FRAMES):
                later, earlier = (
                    [images[j, :, :, channel].ravel()[inside] for channel in range(2)]
                    for j in (i + 2, i)
                )
                delta = [a.astype(np.int16) - b for a, b in zip(later, earlier, strict=True)]
                if limit is not None and max(abs(np.median(d)) for d in delta) > limit:
                    continue
                for channel, change in enumerate(delta):
                    for k, values in enumerate((change, np.abs(change))):
                        out[i, k, channel] = np.bincount(key, values, 400) / n_pixels
            return out

        def same(a, b):
            assert np.array_equal(a, b, equal_nan=True)
            return "identical float16 values"

        limit = campaign.detectors[label].sky_shift_max_dn
        for what, side in (
            ("numpy + median + bincount", functools.partial(theirs, limit=limit)),
            ("numpy + bincount, sky shift untested", theirs),
        ):
            rows.append(
                compare(
                    f"difference of {size} px frames, 400 cells",
                    ("reprocess", ours), (what, side),
                    work=FRAMES, unit="frames", target=">= 9", same=same, rounds=15,
                )
            )  # fmt: skip
    save("difference", rows)


if __name__ == "__main__":
    main()
