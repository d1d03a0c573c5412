"""The one console command, `reprocess VERB`: one thin function for each verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprocess import run
from reprocess.errors import (
    ClusterError,
    ConfigurationError,
    LockHeld,
    LockLost,
    ReprocessError,
    ServiceUnavailable,
    StoreError,
)
from reprocess.plot import command

if TYPE_CHECKING:
    from reprocess.calibrate import Calibration


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    parser = argparse.ArgumentParser(prog="reprocess", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    verb = verbs.add_parser("run", help="bring a campaign's stores and cube up to date")
    run.add_arguments(verb)
    verb.set_defaults(call=run.run)

    verb = verbs.add_parser("sample", help="write the simulated sample archive with its truth")
    verb.add_argument("directory", type=Path)
    verb.add_argument("--tiny", action="store_true", help="a few small frames, for trials")
    verb.set_defaults(call=_sample)

    verb = verbs.add_parser("plot", help="draw from the stores")
    kinds = verb.add_subparsers(dest="kind", required=True, metavar="KIND")
    command.add_kinds(kinds)
    kind = kinds.add_parser("cells", help="the campaign's sky cells and directions on one image")
    kind.add_argument("campaign")
    kind.add_argument("image", type=Path, help="an image file of the campaign's camera")
    kind.add_argument("output", type=Path, help="picture to write: .png, .pdf or .svg")
    kind.add_argument("--epoch", metavar="TIME", help="camera epoch valid then; default the last")
    kind.add_argument("--set", nargs="+", action="extend", default=[], dest="overrides")
    kind.set_defaults(call=_plot_cells)

    verb = verbs.add_parser("calibrate", help="a camera epoch from stars")
    _calibrate_arguments(verb.add_subparsers(dest="kind", required=True, metavar="KIND"))

    verb = verbs.add_parser("report", help="make the page of a run again, from its store alone")
    verb.add_argument("store", help="URL of the store")
    verb.add_argument("output", type=Path, nargs="?", help="file; default runs/<run>/report.html")
    verb.add_argument("--run", metavar="ID", help="default the last run")
    verb.add_argument(
        "--access", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="as in the campaign's store_access: endpoint_url, profile, region, anonymous …",
    )  # fmt: skip
    verb.set_defaults(call=_report)

    verb = verbs.add_parser(
        "noise", help="noise constants of the difference method from aurora-free frames"
    )
    _evidence_arguments(verb)
    verb.add_argument("--per-cell", action="store_true", help="one number for each sky cell")
    verb.set_defaults(call=_noise)

    verb = verbs.add_parser("sweep", help="what the difference method flags at other thresholds")
    _evidence_arguments(verb)
    verb.set_defaults(call=_sweep)

    verb = verbs.add_parser("verify", help="check a store against its records; repair it")
    verb.add_argument("store", help="URL of the store")
    verb.add_argument("--years", nargs="+", metavar="YEAR", help="such as 2018-2020 2023")
    verb.add_argument("--campaign", metavar="FILE", help="whose archive the ledger is held against")
    verb.add_argument(
        "--repair", metavar="CAMPAIGN", help="make again what is damaged, with this campaign"
    )
    verb.add_argument("--cluster", default="local", metavar="NAME", help="where a repair runs")
    verb.add_argument("--set", nargs="+", action="extend", default=[], dest="overrides")
    verb.add_argument("--json", action="store_true", help="end with one line of JSON")
    verb.set_defaults(call=_verify)
    verb = verbs.add_parser("copy", help="copy a store between disk and S3")
    verb.add_argument("source", metavar="SOURCE", help="URL or directory of a store")
    verb.add_argument("target", metavar="TARGET", help="where its copy is, or will be")
    verb.add_argument("--years", nargs="+", metavar="YEAR", help="such as 2018-2020; default all")
    for side in ("source", "target"):
        verb.add_argument(
            f"--{side}-access", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
            help="as in the campaign's store_access: endpoint_url, profile, region, anonymous …",
        )  # fmt: skip
    verb.set_defaults(call=_copy)
    verb = verbs.add_parser("cluster", help="try a cluster profile, or print one to copy")
    kinds = verb.add_subparsers(dest="kind", required=True, metavar="KIND")
    kind = kinds.add_parser("check", help="start one worker and say what it finds")
    kind.add_argument("profile", help="as for run --cluster")
    kind.add_argument("--store", metavar="URL", help="write, read and delete an object there")
    kind.add_argument(
        "--store-access", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="how it is reached, as store_access in a campaign",
    )  # fmt: skip
    kind.set_defaults(call=_cluster_check)
    kind = kinds.add_parser("show", help="print a profile, or the driver's batch script")
    kind.add_argument("name", help="local, slurm, slurm-gpu or driver")
    kind.set_defaults(call=_cluster_show)

    options = parser.parse_args(arguments)
    try:
        code: int = options.call(options)
    except (LockLost, StoreError, ServiceUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return run.EXIT_FAILED
    except (ClusterError, LockHeld) as error:
        print(f"error: {error}", file=sys.stderr)
        return run.EXIT_CLUSTER
    except ReprocessError as error:
        print(f"error: {error}", file=sys.stderr)
        return run.EXIT_CONFIGURATION
    return code


def _calibrate_arguments(kinds: Any) -> None:
    kind = kinds.add_parser("stars", help="from a table of stars and the pixels they were seen at")
    kind.add_argument("table", type=Path, help="CSV; columns in docs/cameras.md")
    kind.add_argument(
        "--site", nargs="+", type=float, metavar="DEG",
        help="latitude, longitude (degrees) and altitude (m): for stars given by name",
    )  # fmt: skip
    kind.add_argument("--time", help="UTC of the image, unless the table has time_utc")
    kind.add_argument(
        "--altitudes", choices=("geometric", "apparent"), default="geometric",
        help="whether the table's elevations hold refraction (default: they do not)",
    )  # fmt: skip
    kind.add_argument("--image", type=Path, help="the image: gives its size, drawn under the stars")
    kind.add_argument("--reader", default="still", help="of the image; as archive.reader")
    kind.add_argument("--size", nargs=2, type=int, metavar="PX", help="width and height, else")
    _fit_arguments(kind)
    kind.add_argument("--valid-from", default="", help="start of the epoch, UTC")
    kind.set_defaults(call=_calibrate_stars)

    kind = kinds.add_parser(
        "images", help="from stars found in a campaign's images; refines its rough camera epochs"
    )
    kind.add_argument("campaign")
    kind.add_argument(
        "--between", nargs=2, metavar="TIME", action="append", default=[],
        help="clear, dark span, UTC; may be repeated; default all of the campaign",
    )  # fmt: skip
    kind.add_argument("--set", nargs="+", action="extend", default=[], dest="overrides")
    kind.add_argument("--magnitude", type=float, default=2.5, help="faintest star, up to 4.5")
    kind.add_argument("--per-night", type=int, default=40, help="images read of each night")
    kind.add_argument(
        "--turn", type=float, default=5.0, metavar="DEG", help="north may be this wrong; 180: any"
    )
    kind.add_argument(
        "--shift", type=float, default=2.0, metavar="DEG", help="zenith may be this wrong"
    )
    _fit_arguments(kind)
    kind.set_defaults(call=_calibrate_images)


def _fit_arguments(kind: argparse.ArgumentParser) -> None:
    kind.add_argument(
        "--model", choices=("equidistant", "polynomial", "equal-area"), default="polynomial"
    )
    kind.add_argument(
        "--terms", type=int, choices=(1, 2, 3, 4), default=2, help="of the polynomial"
    )
    kind.add_argument("--plot", type=Path, help="picture of the residuals to write")
    kind.add_argument("--output", type=Path, help="write the camera epoch there, not to the screen")


def _evidence_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("campaign")
    verb.add_argument("label", help="a detector of kind difference, already run")
    verb.add_argument(
        "--between", nargs=2, metavar="TIME", required=True, action="append",
        help="span of time, UTC, such as 2021-06-01T10:00 2021-06-01T11:00; may be repeated",
    )  # fmt: skip
    verb.add_argument("--store", metavar="URL")
    verb.add_argument("--set", nargs="+", action="extend", default=[], dest="overrides")


def _verify(options: argparse.Namespace) -> int:
    import json
    import logging

    from reprocess.campaign import load_campaign, parse_years
    from reprocess.reconcile import reconcile
    from reprocess.repair import repair_store
    from reprocess.report import CheckLine, ProgressLine
    from reprocess.verify import verify_store

    run.log_to_stderr()
    try:
        years = parse_years(options.years) if options.years else None
    except ValueError as error:
        raise ConfigurationError(f"--years: expected {error}") from error
    path = options.repair or options.campaign
    campaign = path and load_campaign(path, options.overrides, store=options.store)
    with CheckLine() as progress:
        found = verify_store(options.store, years, progress, campaign or None)
    reconcile(found, campaign or None)
    print(found.text())
    documents = {"verification": found.document()}
    sound = found.sound
    if options.repair and not sound:
        say = logging.getLogger("reprocess").info
        with ProgressLine() as done:
            repaired = repair_store(campaign, found, options.cluster, say, done)
        print(f"\n{repaired.text()}\n")
        with CheckLine() as progress:
            again = verify_store(options.store, years, progress, campaign)
        print(f"verified again\n{again.text()}")
        documents |= {"repair": repaired.document(), "verified_again": again.document()}
        sound = again.sound and repaired.complete
    if options.json:
        print(json.dumps(documents, sort_keys=True))
    return run.EXIT_COMPLETE if sound else run.EXIT_FAILED


def _sample(options: argparse.Namespace) -> int:
    from reprocess.simulate.archive import write_sample

    path = write_sample(options.directory, tiny=options.tiny)
    print(f"campaign: {path}\nrun it:   python -m reprocess.run {path}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from reprocess.campaign import store_access
    from reprocess.page.write import write_report

    access = store_access(options.access, "--access") if options.access else None
    print(write_report(options.store, options.run, options.output, access))
    return 0


def _plot_cells(options: argparse.Namespace) -> int:
    from reprocess.calibrate import parse_utc, read_image
    from reprocess.campaign import load_campaign
    from reprocess.plot.cells import draw_cells

    campaign = load_campaign(options.campaign, options.overrides)
    epoch = campaign.camera[-1]
    if options.epoch is not None:
        found = campaign.epoch_at(parse_utc(options.epoch))
        if found is None:
            raise ConfigurationError(
                f"--epoch {options.epoch}: no camera epoch holds then; expected a time from "
                f"{campaign.camera[0].name} on"
            )
        epoch = found
    image = read_image(options.image, campaign.archive.reader)
    print(draw_cells(campaign, epoch, image, options.output))
    return 0


def _calibrate_stars(options: argparse.Namespace) -> int:
    from reprocess import calibrate
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
    stars = calibrate.read_star_table(options.table, site, options.time, options.altitudes)
    image = None
    if options.image is not None:
        image = calibrate.read_image(options.image, options.reader)
        size = (image.shape[1], image.shape[0])
    elif options.size is not None:
        size = (options.size[0], options.size[1])
    else:
        raise ConfigurationError("calibrate stars: expected --image FILE or --size WIDTH HEIGHT")
    found = calibrate.calibrate_table(stars, size, options.model, options.terms)
    return _finish_calibration(options, found, image, options.valid_from)


def _calibrate_images(options: argparse.Namespace) -> int:
    from reprocess.calibrate_images import calibrate_images, report_images
    from reprocess.campaign import load_campaign

    campaign = load_campaign(options.campaign, options.overrides)
    results = calibrate_images(
        campaign,
        [(start, end) for start, end in options.between],
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
        _finish_calibration(options, result.found, result.image, valid_from)
    return 0


def _finish_calibration(
    options: argparse.Namespace, found: Calibration, image: Any, valid_from: str
) -> int:
    from reprocess import calibrate
    from reprocess.plot.stars import draw_stars

    print(calibrate.report(found))
    if options.plot is not None:
        print(draw_stars(found, options.plot, image))
    fit = found.fit
    comments = [
        f"{fit.used.sum()} of {len(fit.used)} stars, median residual {fit.median_px:.2f} px = "
        f"{fit.median_px * fit.degrees_per_px:.3f} deg"
    ]
    if not valid_from:
        comments.append("valid_from: set it to when the camera was put as it is")
    text = calibrate.epoch_yaml(found, valid_from or "1970-01-01T00:00:00Z", comments)
    if options.output is None:
        print(f"\n{text}", end="")
    else:
        options.output.write_text(text, encoding="utf-8")
        print(options.output)
    return 0


def _noise(options: argparse.Namespace) -> int:
    from reprocess.campaign import load_campaign
    from reprocess.noise import measure_noise

    campaign = load_campaign(options.campaign, options.overrides, store=options.store)
    spans = [(start, end) for start, end in options.between]
    print(measure_noise(campaign, options.label, spans, per_cell=options.per_cell))
    return 0


def _sweep(options: argparse.Namespace) -> int:
    from reprocess.campaign import load_campaign
    from reprocess.noise import sweep

    campaign = load_campaign(options.campaign, options.overrides, store=options.store)
    print(sweep(campaign, options.label, [(start, end) for start, end in options.between]))
    return 0


def _copy(options: argparse.Namespace) -> int:
    from reprocess.campaign import parse_years, store_access
    from reprocess.copy import copy_store
    from reprocess.errors import ConfigurationError
    from reprocess.stores.objects import open_objects

    try:
        years = parse_years(options.years) if options.years else None
    except ValueError as error:
        raise ConfigurationError(f"--years: expected {error}") from error
    source = open_objects(options.source, store_access(options.source_access, "--source-access"))
    target = open_objects(options.target, store_access(options.target_access, "--target-access"))
    copied = copy_store(source, target, years, print)
    print(
        f"{copied.blocks} blocks copied ({copied.objects} objects, {copied.size / 1e6:.1f} MB), "
        f"{copied.there} were there"
    )
    for block, why in sorted(copied.left.items()):
        print(f"left: {block}: {why}", file=sys.stderr)
    if copied.left:
        print("run the campaign on the source again, then copy again", file=sys.stderr)
    return run.EXIT_FAILED if copied.left else run.EXIT_COMPLETE


def _cluster_check(options: argparse.Namespace) -> int:
    from reprocess.campaign import store_access
    from reprocess.clusters.check import check

    access = store_access(options.store_access, "--store-access")
    findings = check(
        options.profile, options.store, lambda text: print(text, file=sys.stderr), access
    )
    print("\n".join(str(finding) for finding in findings))
    wrong = sum(finding.todo is not None for finding in findings)
    print(f"{wrong} to mend" if wrong else "ready")
    return run.EXIT_FAILED if wrong else run.EXIT_COMPLETE


def _cluster_show(options: argparse.Namespace) -> int:
    from reprocess.clusters.profiles import shipped_text

    print(shipped_text(options.name), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
