"""`reprocess calibrate`: the arguments of its kinds, and what they print and write."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprocess.errors import ConfigurationError
from reprocess.options import add_overrides, add_verb

if TYPE_CHECKING:
    from reprocess.calibrate.table import Calibration


def add_kinds(kinds: Any) -> None:
    """Declare `reprocess calibrate stars` and `calibrate images`."""
    kind = add_verb(kinds, "stars", "from a table of stars and the pixels they were seen at")
    kind.add_argument("table", metavar="TABLE", type=Path, help="CSV; columns in docs/cameras.md")
    kind.add_argument(
        "--site", nargs="+", type=float, metavar="DEG",
        help="latitude, longitude (degrees) and altitude (m): for stars given by name",
    )  # fmt: skip
    kind.add_argument(
        "--time", metavar="TIME", help="UTC of the image, unless the table has time_utc"
    )
    kind.add_argument(
        "--altitudes", choices=("geometric", "apparent"), default="geometric",
        help="whether the table's elevations hold refraction (default: they do not)",
    )  # fmt: skip
    kind.add_argument(
        "--image", metavar="FILE", type=Path,
        help="the image: gives its size, drawn under the stars",
    )  # fmt: skip
    kind.add_argument(
        "--reader", metavar="NAME", default="still", help="of the image; as archive.reader"
    )
    kind.add_argument(
        "--size", nargs=2, type=int, metavar="PX", help="width and height, without --image"
    )
    _fit_arguments(kind)
    kind.add_argument("--valid-from", metavar="TIME", default="", help="start of the epoch, UTC")
    kind.set_defaults(call=_stars)

    kind = add_verb(
        kinds, "images", "from stars found in a campaign's images; refines its rough camera epochs"
    )
    kind.add_argument("campaign", metavar="CAMPAIGN", help="campaign YAML")
    kind.add_argument(
        "--between", nargs=2, metavar="TIME", action="append", default=[],
        help="clear, dark span, UTC; may be repeated; default all of the campaign",
    )  # fmt: skip
    add_overrides(kind)
    kind.add_argument(
        "--magnitude", type=float, default=2.5, metavar="V", help="faintest star, up to 4.5"
    )
    kind.add_argument(
        "--per-night", type=int, default=40, metavar="N", help="images read of each night"
    )
    kind.add_argument(
        "--turn", type=float, default=5.0, metavar="DEG", help="north may be this wrong; 180: any"
    )
    kind.add_argument(
        "--shift", type=float, default=2.0, metavar="DEG", help="zenith may be this wrong"
    )
    _fit_arguments(kind)
    kind.set_defaults(call=_images)


def _fit_arguments(kind: argparse.ArgumentParser) -> None:
    kind.add_argument(
        "--model", choices=("equidistant", "polynomial", "equal-area"), default="polynomial",
        help="of the lens; default polynomial",
    )  # fmt: skip
    kind.add_argument(
        "--terms", type=int, choices=(1, 2, 3, 4), default=2, help="of the polynomial"
    )
    kind.add_argument("--plot", metavar="OUT", type=Path, help="picture of the residuals to write")
    kind.add_argument(
        "--output", metavar="FILE", type=Path,
        help="write the camera epoch there, not to the screen",
    )  # fmt: skip


def _stars(options: argparse.Namespace) -> int:
    from reprocess.calibrate.table import calibrate_table, read_image, read_star_table
    from reprocess.campaign import Site

    site = None
    if options.site is not None:
        if len(options.site) not in (2, 3):
            raise ConfigurationError(
                f"--site: found {len(options.site)} numbers, expected latitude, longitude and, "
                f"if known, altitude in metres"
            )
        keys = ("latitude_deg", "longitude_deg", "altitude_m")
        values = dict(zip(keys, options.site, strict=False))
        try:
            site = Site.model_validate({"code": "site", **values})
        except ValueError as error:
            raise ConfigurationError(
                f"--site {options.site}: expected degrees and metres"
            ) from error
    stars = read_star_table(options.table, site, options.time, options.altitudes)
    image = None
    if options.image is not None:
        image = read_image(options.image, options.reader)
        size = (image.shape[1], image.shape[0])
    elif options.size is not None:
        size = (options.size[0], options.size[1])
    else:
        raise ConfigurationError("calibrate stars: expected --image FILE or --size WIDTH HEIGHT")
    found = calibrate_table(stars, size, options.model, options.terms)
    return _finish(options, found, image, options.valid_from)


def _images(options: argparse.Namespace) -> int:
    from reprocess.calibrate.images import calibrate_images, report_images
    from reprocess.campaign import load_campaign

    campaign = load_campaign(options.campaign, options.overrides)
    results = calibrate_images(
        campaign,
        [(a, b) for a, b in options.between],
        model=options.model,
        terms=options.terms,
        v_mag_max=options.magnitude,
        images_per_night=options.per_night,
        turn_deg=options.turn,
        shift_deg=options.shift,
    )
    if len(results) > 1 and (options.plot is not None or options.output is not None):
        raise ConfigurationError(
            f"--plot and --output: found images of {len(results)} camera epochs, expected one; "
            f"choose one with --between"
        )
    for result in results:
        print(report_images(result))
        valid_from = result.epoch.valid_from.strftime("%Y-%m-%dT%H:%M:%SZ")
        _finish(options, result.found, result.image, valid_from)
    return 0


def _finish(options: argparse.Namespace, found: Calibration, image: Any, valid_from: str) -> int:
    from reprocess.calibrate.picture import draw_stars
    from reprocess.calibrate.table import epoch_yaml, report

    print(report(found))
    if options.plot is not None:
        print(draw_stars(found, options.plot, image))
    fit = found.fit
    comments = [
        f"{fit.used.sum()} of {len(fit.used)} stars, median residual {fit.median_px:.2f} px = "
        f"{fit.median_px * fit.degrees_per_px:.3f} deg"
    ]
    if not valid_from:
        comments.append("valid_from: set it to when the camera was put as it is")
    text = epoch_yaml(found, valid_from or "1970-01-01T00:00:00Z", comments)
    if options.output is None:
        print(f"\n{text}", end="")
    else:
        options.output.write_text(text, encoding="utf-8")
        print(options.output)
    return 0
