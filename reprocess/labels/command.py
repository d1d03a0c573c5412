"""`reprocess labels`: bring labels in, look at a set, split it."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from reprocess.errors import ConfigurationError
from reprocess.labels.labelled import AURORA, LabelIndex
from reprocess.labels.read import read_index, read_labels, set_digest
from reprocess.labels.splits import (
    COUNT,
    DATE,
    GUARD_S,
    PARTS,
    Split,
    column,
    split_by_count,
    split_by_group,
    write_split,
)
from reprocess.options import add_verb

ROWS, SHOWN_PX = 64, 64
NAMES = 5
"""Names of unlabelled images that are shown."""


def add_kinds(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `labels import`, `labels show` and `labels split`."""
    kind = add_verb(kinds, "import", "make a labelled set of annotations of another program")
    kind.add_argument("format", metavar="FORMAT", help="coco, cvat, labelme or masks")
    kind.add_argument("source", metavar="SOURCE", type=Path, help="file or folder of annotations")
    kind.add_argument("output", metavar="OUT", type=Path, help="new folder")
    kind.add_argument("--images", metavar="FOLDER", type=Path, help="where the images are")
    kind.add_argument(
        "--table", metavar="CSV", type=Path,
        help="columns image, time, station, camera and any conditions",
    )  # fmt: skip
    kind.add_argument(
        "--pattern",
        metavar="TEXT",
        help="of the images' names, such as JBS_%%Y%%m%%d_%%H%%M%%S.jpg",
    )
    kind.add_argument("--station", metavar="CODE", help="beside --pattern")
    kind.add_argument("--camera", metavar="NAME", help="beside --pattern; default the station")
    kind.add_argument(
        "--campaign", metavar="FILE", help="gives pattern, station and camera epochs instead"
    )
    for name, default in (
        ("aurora", "aurora"), ("unjudged", "unjudged, faint_edge"), ("background", "background"),
    ):  # fmt: skip
        kind.add_argument(
            f"--{name}", metavar="LABEL", action="append",
            help=f"a label that means {name}; may be repeated; default {default}",
        )  # fmt: skip
    kind.set_defaults(call=_import)

    kind = add_verb(kinds, "show", "check a labelled set and say what is in it")
    kind.add_argument("data", metavar="DIR", type=Path, help="folder of a labelled set")
    kind.set_defaults(call=_show)

    kind = add_verb(kinds, "split", "share a labelled set among training, validation and test")
    kind.add_argument("data", metavar="DIR", type=Path, help="folder of a labelled set")
    kind.add_argument("output", metavar="OUT", type=Path, help="JSON file to write")
    kind.add_argument(
        "--by", default=DATE, metavar="COLUMN",
        help="date (default): whole UTC dates; count: single images, as the source did; or a "
        "column, such as camera",
    )  # fmt: skip
    kind.add_argument(
        "--sizes", default="0.8/0.1/0.1", metavar="A/B/C",
        help="shares, or with --by count numbers of images: 1201/150/151 is the source's",
    )  # fmt: skip
    kind.add_argument("--seed", type=int, default=1)
    kind.add_argument(
        "--guard", type=float, metavar="MIN",
        help=f"leave out images nearer than this to another part's, minutes; default "
        f"{GUARD_S / 60:g}, with --by count 0",
    )  # fmt: skip
    kind.add_argument(
        "--test-where", metavar="COLUMN=VALUE", action="append", default=[],
        help="exactly these images are the test part; may be repeated",
    )  # fmt: skip
    kind.set_defaults(call=_split)


def _import(options: argparse.Namespace) -> int:
    from reprocess.campaign import load_campaign
    from reprocess.labels.importing.importer import (
        Meaning,
        import_labels,
        origin_by_name,
        origin_by_table,
    )

    conditions: tuple[str, ...] = ()
    if options.table is not None:
        origin, conditions = origin_by_table(options.table)
    elif options.campaign is not None:
        campaign = load_campaign(options.campaign)
        code = campaign.site.code
        origin = origin_by_name(
            options.pattern or campaign.archive.pattern, code, options.camera or code, campaign
        )
    elif options.pattern is not None and options.station is not None:
        origin = origin_by_name(options.pattern, options.station, options.camera or options.station)
    else:
        raise ConfigurationError(
            "labels import: expected --table CSV, --campaign FILE, or --pattern TEXT with "
            "--station CODE: a label without a time cannot be split by date"
        )
    default = Meaning()
    meaning = Meaning(
        *(
            tuple(getattr(options, name) or getattr(default, name))
            for name in ("aurora", "unjudged", "background")
        )
    )
    found = import_labels(
        options.format, options.source, options.output, origin,
        conditions=conditions, meaning=meaning, images=options.images,
    )  # fmt: skip
    shapes = ", ".join(f"{n} {label}" for label, n in found.labels.items()) or "none"
    print(f"{options.output}: {found.images} images, {found.with_aurora} with aurora")
    print(f"shapes: {shapes}")
    if found.unlabelled:
        names = [path.name for path in found.unlabelled]
        shown = ", ".join(names[:NAMES]) + (", …" if len(names) > NAMES else "")
        print(f"not labelled, so not in the set: {len(names)} images beside those: {shown}")
    return 0


def _show(options: argparse.Namespace) -> int:
    index = read_index(options.data)
    if not len(index):
        raise ConfigurationError(f"{options.data}: its index has no row, expected images")
    shares = []
    for first in range(0, len(index), ROWS):
        # The whole set may be larger than the memory.
        rows = np.arange(first, min(first + ROWS, len(index)))
        labels = read_labels(options.data, SHOWN_PX, rows=rows, digested=False)
        shares.append((labels.mask == AURORA).mean(axis=(1, 2)))
    share = np.concatenate(shares)
    days = np.unique(index.time.astype("datetime64[D]"))
    print(f"{options.data}: {len(index)} images, {int((share > 0).sum())} with aurora")
    print(f"digest   {set_digest(options.data)}")
    print(f"dates    {len(days)}, {days[0]} to {days[-1]}")
    print(f"area     {100 * share.mean():.1f} % aurora")
    for name in ("station", "camera", *index.conditions):
        values, counts = np.unique(column(index, name), return_counts=True)
        listed = ", ".join(f"{v or '(none)'} {n}" for v, n in zip(values, counts, strict=True))
        if len(values) > 12:
            listed = f"{len(values)} values"
        print(f"{name:8} {listed}")
    unknown = sorted(set(index.camera.tolist()) - set(index.cameras))
    if unknown:
        print(f"cameras of which nothing is known: {', '.join(unknown[:5])}")
    return 0


def _split(options: argparse.Namespace) -> int:
    index = read_index(options.data)
    split = _make_split(options, index)
    write_split(split, options.output)
    for part in PARTS:
        rows = split.rows(index, part)
        days = len(np.unique(index.time[rows].astype("datetime64[D]")))
        print(f"{part:10} {len(rows)} images of {days} dates")
    if split.left_out:
        print(f"left out   {len(split.left_out)} images within {split.guard_s / 60:g} min of "
              "another part")  # fmt: skip
    print(f"{options.output}: sha256 {split.digest}")
    return 0


def _make_split(options: argparse.Namespace, index: LabelIndex) -> Split:
    try:
        sizes = [float(size) for size in options.sizes.split("/")]
    except ValueError as error:
        raise ConfigurationError(
            f"--sizes {options.sizes}: expected three numbers such as 0.8/0.1/0.1"
        ) from error
    digest = set_digest(options.data)
    where: dict[str, list[str]] = {}
    for item in options.test_where:
        name, separator, value = item.partition("=")
        if not separator:
            raise ConfigurationError(f"--test-where {item}: expected COLUMN=VALUE")
        where.setdefault(name, []).append(value)
    if options.by == COUNT:
        if where or options.guard:
            raise ConfigurationError(
                "--by count: draws single images at random; --test-where and --guard need whole "
                "groups, such as --by date"
            )
        return split_by_count(index, sizes, options.seed, digest)
    guard_s = GUARD_S if options.guard is None else 60.0 * options.guard
    return split_by_group(
        index, options.by, sizes, options.seed, digest, guard_s=guard_s, test_where=where or None
    )
