"""What networks say of real all-sky images: `python workflows/real_images.py DIR`.

DIR holds folders of published images of six cameras (docs/real-images.md says which and where
they come from). None belongs to this project and none is labelled, so nothing here is a score:
the table tells the share of sky cells flagged on stills that a person found to be without aurora,
where each flag is false, and on stills with aurora beside how much of their plainly green sky is
found. The images are a development set: the simulator was widened after looking at them. No
network was trained on them and no threshold was set by them.

    python workflows/real_images.py DIR --weights A.safetensors package:B.safetensors
        --out docs/real-images.md --sheet sheet.png

`--sheet` draws every image with the outline of each network's mask. It shows the images
themselves: keep it to yourself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from network_pages import SHIPPED, network_name, publish
from numpy.typing import NDArray

from reprocess.archive.frames import FrameBlock, prepare, to_eight_bits
from reprocess.archive.readers.reader import load_reader
from reprocess.campaign import Campaign, Fcn, campaign_from_mapping
from reprocess.cube.count import fraction_min
from reprocess.detectors.coverage import aurora_mask
from reprocess.detectors.detector import FRACTION_UNOBSERVED
from reprocess.detectors.fcn import LOGIT, FcnDetector
from reprocess.detectors.weights import read_card
from reprocess.geometry.calibration import epoch_geometry

SIZE_PX = 256
GREEN_DN = 15.0
COLOURS = ((255, 60, 60), (60, 200, 255), (255, 220, 60), (220, 90, 255))


@dataclass(frozen=True)
class Camera:
    """A folder of images and how its camera looks at the sky.

    `zenith_px` and `horizon_px` are the centre and the radius of the sky disk in the stored
    image; equidistant, fitted by eye to the rim (KHO: from stars). `aurora` holds the beginnings
    of the names of images with aurora; `levels` black and white of 16-bit counts.
    """

    folder: str
    name: str
    glob: str
    reader: str
    size_px: tuple[int, int]
    zenith_px: tuple[float, float]
    horizon_px: float
    aurora: tuple[str, ...] = ()
    levels: tuple[float, float] | None = None
    mono: bool = False
    every: int = 1
    hide: tuple[tuple[tuple[float, float], ...], ...] = ()
    """Polygons of the stored image where buildings hide the sky."""


CAMERAS = (
    Camera(
        "nipr_lyr_2014", "NIPR, Longyearbyen", "*.jpg", "still", (720, 480), (359.0, 235.0), 226.0,
        ("20140221", "20140223", "20140224", "2014022522"),
    ),
    Camera(
        "trex_rgb_gill", "TREx RGB, Gillam", "*.png", "still", (553, 480), (268.0, 246.0), 268.0,
        ("20211030",),
    ),
    Camera(
        "themis_gill_20140310", "THEMIS, Gillam", "*.pgm.gz", "pgm", (256, 256), (128.0, 126.0),
        122.0, levels=(3000.0, 12000.0), mono=True, every=5,
    ),
    Camera(
        "dasc_pkr_20151007", "DASC, Poker Flat", "*.FITS", "fits", (512, 512), (257.0, 251.0),
        236.0, ("PKR",), levels=(340.0, 800.0), mono=True,
    ),
    Camera(
        "kho_sony_20201211", "Sony, KHO", "*.jpg", "still", (2832, 2832), (1416.0, 1416.0), 1380.0,
        ("LYR",),
    ),
    Camera(
        "kho_20131204/frames", "KHO, Svalbard", "*.png", "still", (320, 240), (166.6, 127.7), 96.4,
        ("2013",), every=6,
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Seen:
    """One image and what each network says of it."""

    camera: Camera
    name: str
    aurora: bool
    image: NDArray[np.uint8]
    masks: tuple[NDArray[np.bool_], ...]
    flagged: tuple[float, ...]
    """Share of the observed cells that each network calls aurora."""
    green: int
    """Cells whose mean green lies `GREEN_DN` above the mean of red and blue."""
    green_found: tuple[int, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the networks over the folders and write table and sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="holds the folders of images")
    parser.add_argument("--weights", nargs="+", default=[SHIPPED], help="default the shipped ones")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--out", type=Path, help="page whose table is replaced, else it is printed")
    parser.add_argument("--sheet", type=Path, help="PNG of every image with the masks' outlines")
    options = parser.parse_args(arguments)
    found = [c for c in CAMERAS if (options.directory / c.folder).is_dir()]
    if not found:
        parser.error(
            f"{options.directory}: none of the folders {', '.join(c.folder for c in CAMERAS)}"
        )
    seen = [
        s for c in found for s in look(options.directory, c, options.weights, options.threshold)
    ]
    text = table(seen, options.weights)
    publish(text, options.out)
    if options.sheet is not None:
        cv2.imwrite(str(options.sheet), cv2.cvtColor(sheet(seen), cv2.COLOR_RGB2BGR))
    return 0


def look(
    directory: Path, camera: Camera, weights: Sequence[str], threshold: float
) -> Iterator[Seen]:
    """Detect on every image of a camera, in order of name."""
    campaign = campaign_of(camera, weights, threshold)
    epoch = campaign.camera[0]
    reader = load_reader(camera.reader)
    detectors = [
        FcnDetector(label, settings)
        for label, settings in campaign.detectors.items()
        if isinstance(settings, Fcn)
    ]
    names, images = [], []
    paths = sorted((directory / camera.folder).glob(camera.glob))
    if len(paths) > 40:
        paths = paths[:: camera.every]
    for path in paths:
        frames = reader.read_all(path.read_bytes())
        for number, frame in enumerate(frames[:: camera.every] if len(frames) > 1 else frames):
            names.append(path.name + (f" #{number * camera.every}" if len(frames) > 1 else ""))
            images.append(to_eight_bits(prepare(frame, epoch, SIZE_PX), epoch))
    n = len(images)
    block = FrameBlock(
        slot=np.arange(n), image=np.stack(images),
        acquired=np.datetime64("2020-01-01", "us") + np.arange(n) * np.timedelta64(60, "s"),
        epoch=np.zeros(n, np.int64),
    )  # fmt: skip
    limit = fraction_min(campaign.cube.cell_fraction_min)
    evidence = [detector.measure(block, None, campaign) for detector in detectors]
    fractions = [
        detector.fractions(e, block.epoch, campaign)
        for detector, e in zip(detectors, evidence, strict=True)
    ]
    logit = float(np.log(threshold / (1 - threshold)))
    masks = [aurora_mask(e.values[LOGIT], SIZE_PX, logit) for e in evidence]
    cells = epoch_geometry(campaign, epoch).cellmap
    for i in range(n):
        seen = [f[i] != FRACTION_UNOBSERVED for f in fractions]
        flags = [(f[i] >= limit) & s for f, s in zip(fractions, seen, strict=True)]
        green = _green_cells(block.image[i], cells.cell, len(seen[0])) & seen[0]
        yield Seen(
            camera, names[i], names[i].startswith(camera.aurora) if camera.aurora else False,
            block.image[i], tuple(m[i] for m in masks),
            tuple(float(f.sum() / max(s.sum(), 1)) for f, s in zip(flags, seen, strict=True)),
            int(green.sum()), tuple(int((f & green).sum()) for f in flags),
        )  # fmt: skip


def campaign_of(camera: Camera, weights: Sequence[str], threshold: float) -> Campaign:
    """A campaign file of one camera, with a detector for each network."""
    width, height = camera.size_px
    x, y = camera.zenith_px
    half = int(np.ceil(camera.horizon_px * 1.03))
    black, white = camera.levels or (0.0, None)
    epoch: dict[str, Any] = {
        "valid_from": "2000-01-01T00:00:00Z",
        "lens": {
            "model": "equidistant", "center_x_px": x, "center_y_px": y,
            "px_per_deg": camera.horizon_px / 90.0, "north_deg": 0.0, "east": "left",
        },
        "image_width_px": width,
        "image_height_px": height,
        "crop": {"left_px": round(x) - half, "top_px": round(y) - half, "size_px": 2 * half},
        "black_level": black,
        "white_level": white,
        "hide": [[list(corner) for corner in shape] for shape in camera.hide],
    }  # fmt: skip
    return campaign_from_mapping(
        {
            "name": "real-images",
            "site": {"code": "X", "latitude_deg": 70.0, "longitude_deg": 0.0},
            "camera": [epoch],
            "archive": {
                "url": ".",
                "pattern": "%Y%m%d_%H%M%S.png",
                "reader": camera.reader,
                "bits": 8 if camera.levels is None else 16,
            },
            "store": "store",
            "cadence_s": 60,
            "image": {"size_px": SIZE_PX},
            "cells": {"azimuth": "geographic"},
            "detectors": {
                f"n{i}": {"kind": "fcn", "weights": str(w), "threshold": threshold}
                for i, w in enumerate(weights)
            },
            "years": [2020],
        },
        source="workflows/real_images.py",
    )


def _green_cells(
    image: NDArray[np.uint8], cell: NDArray[np.int16], n_cells: int
) -> NDArray[np.bool_]:
    """Cells (n_cells,) that are green beyond doubt, by colour alone."""
    counts = image.astype(np.float64)
    excess = counts[:, :, 1] - (counts[:, :, 0] + counts[:, :, 2]) / 2
    inside = cell >= 0
    total = np.bincount(cell[inside], excess[inside], n_cells)
    number = np.bincount(cell[inside], minlength=n_cells)
    return np.asarray(total / np.maximum(number, 1) >= GREEN_DN)


def table(seen: Sequence[Seen], weights: Sequence[str]) -> str:
    """The page's two tables, as Markdown."""
    heads = [network_name(w) for w in weights]
    lines = [
        f"- **{h}**: `{Path(w).name}`, {_origin(w)}" for h, w in zip(heads, weights, strict=True)
    ]
    lines += ["", "Without aurora: every flag is false.", ""]
    lines += _rows(("camera", "image", *heads), [
        (s.camera.name, f"`{s.name}`", *(f"{100 * v:.1f} %" for v in s.flagged))
        for s in seen if not s.aurora
    ] + [
        ("**all**", f"{sum(not s.aurora for s in seen)} images",
         *(f"**{100 * _mean([s.flagged[i] for s in seen if not s.aurora]):.1f} %**"
           for i in range(len(weights))))
    ])  # fmt: skip
    lines += [
        "",
        "With aurora: share of all cells flagged; in brackets, of the cells that are plainly green",
        f"(G − (R + B) / 2 of {GREEN_DN:g} DN or more), how many.",
        "",
    ]
    rows = []
    for camera in dict.fromkeys(s.camera for s in seen):
        some = [s for s in seen if s.camera == camera and s.aurora]
        for group in [some] if len(some) > 15 else [[s] for s in some]:
            green = sum(s.green for s in group)
            name = f"`{group[0].name}`" if len(group) == 1 else f"{len(group)} images"
            rows.append((camera.name, name, *(
                f"{100 * _mean([s.flagged[i] for s in group]):.1f} %"
                + (f" ({sum(s.green_found[i] for s in group)} of {green})" if green else "")
                for i in range(len(weights))
            )))  # fmt: skip
    return "\n".join(lines + _rows(("camera", "image", *heads), rows)) + "\n"


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _origin(weights: str) -> str:
    card = read_card(weights)
    steps = card["card"].get("steps", "?")
    return f"{card['architecture']}, {steps['done'] if isinstance(steps, dict) else steps} steps"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def sheet(seen: Sequence[Seen], columns: int = 6) -> NDArray[np.uint8]:
    """Every image with the outline of each network's mask, brightened alike."""
    tiles = []
    for s in seen:
        tile = np.clip(s.image.astype(np.float32) * 1.3, 0, 255).astype(np.uint8).copy()
        for mask, colour in zip(s.masks, COLOURS, strict=False):
            lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(tile, lines, -1, colour, 1)
        shares = " ".join(f"{100 * v:.0f}%" for v in s.flagged)
        cv2.putText(
            tile, f"{s.name[:15]} {'A' if s.aurora else '-'} {shares}", (2, SIZE_PX - 4),
            cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA,
        )  # fmt: skip
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.asarray(np.vstack(rows), np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
