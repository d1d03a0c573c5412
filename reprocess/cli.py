"""The one console command, `reprocess VERB`: one thin function for each verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reprocess import run
from reprocess.errors import ConfigurationError, LockHeld, ReprocessError, StoreError


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
    kind = kinds.add_parser("occurrence", help="one sky map of occurrence for each MLT")
    kind.add_argument("store", help="URL of the store")
    kind.add_argument("output", type=Path, help="picture to write: .png, .pdf or .svg")
    kind.add_argument("--common", action="store_true", help="only where all detectors observed")
    kind.set_defaults(call=_plot_occurrence)

    verb = verbs.add_parser("report", help="make the page of a run again, from its store alone")
    verb.add_argument("store", help="URL of the store")
    verb.add_argument("output", type=Path, nargs="?", help="file; default runs/<run>/report.html")
    verb.add_argument("--run", metavar="ID", help="default the last run")
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

    options = parser.parse_args(arguments)
    try:
        code: int = options.call(options)
    except (StoreError, LockHeld) as error:
        print(f"error: {error}", file=sys.stderr)
        return run.EXIT_CLUSTER if isinstance(error, LockHeld) else run.EXIT_FAILED
    except ReprocessError as error:
        print(f"error: {error}", file=sys.stderr)
        return run.EXIT_CONFIGURATION
    return code


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
        found = verify_store(options.store, years, progress)
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
            again = verify_store(options.store, years, progress)
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


def _plot_occurrence(options: argparse.Namespace) -> int:
    from reprocess.cube.open import open_cube
    from reprocess.plot.occurrence import draw_occurrence

    print(draw_occurrence(open_cube(options.store), options.output, common=options.common))
    return 0


def _report(options: argparse.Namespace) -> int:
    from reprocess.page.write import write_report

    print(write_report(options.store, options.run, options.output))
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


if __name__ == "__main__":
    sys.exit(main())
