"""The one console command, `reprocess VERB`: one thin function for each verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reprocess import run
from reprocess.calibrate import command as calibrate_command
from reprocess.errors import ConfigurationError, ReprocessError
from reprocess.evaluate import command as evaluate_command
from reprocess.labels import command as labels_command
from reprocess.options import (
    access_of,
    add_access,
    add_overrides,
    add_store,
    add_verb,
    add_years,
    years_of,
)
from reprocess.plot import command
from reprocess.streams import ready_streams
from reprocess.train import command as training

if TYPE_CHECKING:
    from reprocess.campaign import Campaign


def make_parser() -> argparse.ArgumentParser:
    """Declare every verb with its arguments."""
    parser = argparse.ArgumentParser(
        prog="reprocess",
        description="Aurora occurrence from archives of all-sky images.",
        epilog="`reprocess VERB --help` tells more. Exit codes: 0 complete, 1 something was not "
        "done or is damaged, 2 wrong campaign, command, archive or store, 3 nowhere to run or "
        "held by another run, 130 interrupted.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    verb = add_verb(verbs, "run", "bring a campaign's stores and cube up to date")
    run.add_arguments(verb)
    verb.set_defaults(call=run.run)

    verb = add_verb(verbs, "plot", "draw from the stores")
    kinds = verb.add_subparsers(dest="kind", required=True, metavar="KIND")
    command.add_kinds(kinds)
    kind = add_verb(kinds, "cells", "the campaign's sky cells and directions on one image")
    _add_campaign(kind)
    kind.add_argument(
        "image", metavar="IMAGE", type=Path, help="an image file of the campaign's camera"
    )
    command.add_output(kind)
    kind.add_argument("--epoch", metavar="TIME", help="camera epoch valid then; default the last")
    add_overrides(kind)
    kind.set_defaults(call=_plot_cells)

    verb = add_verb(verbs, "report", "make the page of a run again, from its store alone")
    add_store(verb)
    verb.add_argument(
        "output", metavar="OUT", type=Path, nargs="?",
        help="file to write; default runs/<run>/report.html in the store",
    )  # fmt: skip
    verb.add_argument("--run", metavar="ID", help="default the last run")
    verb.set_defaults(call=_report)

    verb = add_verb(
        verbs, "trace", "from a number of the cube to the frames and settings behind it"
    )
    add_store(verb)
    verb.add_argument("--detector", metavar="LABEL", required=True, help="whose count")
    verb.add_argument("--month", metavar="YYYY-MM", required=True, help="such as 2021-06")
    verb.add_argument(
        "--mlt", metavar="HOURS", type=float, required=True, help="in the bin that is traced"
    )
    verb.add_argument(
        "--cell", metavar="N", type=int, required=True, help="index of the sky cell, from 0"
    )
    verb.add_argument("--frames", action="store_true", help="list every frame with its file")
    verb.add_argument("--campaign", metavar="FILE", help="if it is not that of the last run")
    add_overrides(verb, "--campaign")
    verb.set_defaults(call=_trace)

    verb = add_verb(verbs, "verify", "check a store against its records; repair it")
    add_store(verb)
    add_years(verb)
    verb.add_argument("--campaign", metavar="FILE", help="whose archive the ledger is held against")
    verb.add_argument(
        "--repair", metavar="FILE", help="make again what is damaged, with this campaign"
    )
    verb.add_argument("--cluster", default="local", metavar="NAME", help="where a repair runs")
    add_overrides(verb)
    verb.add_argument("--json", action="store_true", help="end with one line of JSON")
    verb.set_defaults(call=_verify)

    verb = add_verb(verbs, "copy", "copy a store between disk and S3")
    verb.add_argument("source", metavar="SOURCE", help="directory or URL of a store")
    verb.add_argument("target", metavar="TARGET", help="where its copy is, or will be")
    add_years(verb)
    for side in ("source", "target"):
        add_access(verb, f"--{side}-access")
    verb.set_defaults(call=_copy)

    verb = add_verb(verbs, "cluster", "try a cluster profile, or print one to copy")
    kinds = verb.add_subparsers(dest="kind", required=True, metavar="KIND")
    kind = add_verb(kinds, "check", "start one worker and say what it finds")
    kind.add_argument("profile", metavar="PROFILE", help="as for run --cluster")
    kind.add_argument("--store", metavar="URL", help="write, read and delete an object there")
    add_access(kind)
    kind.set_defaults(call=_cluster_check)
    kind = add_verb(kinds, "show", "print a profile, or the driver's batch script")
    kind.add_argument("name", metavar="NAME", help="local, slurm, slurm-gpu or driver")
    kind.set_defaults(call=_cluster_show)

    verb = add_verb(verbs, "calibrate", "a camera epoch from stars")
    calibrate_command.add_kinds(verb.add_subparsers(dest="kind", required=True, metavar="KIND"))

    verb = add_verb(verbs, "labels", "labelled images: import, look, split")
    kinds = verb.add_subparsers(dest="kind", required=True, metavar="KIND")
    labels_command.add_kinds(kinds)
    kind = add_verb(
        kinds, "sample", "make a labelled set of a simulated sample, with its sequences"
    )
    kind.add_argument("directory", metavar="DIRECTORY", type=Path, help="of `reprocess sample`")
    kind.add_argument("output", metavar="OUT", type=Path, help="new folder")
    kind.set_defaults(call=_labels_sample)

    verb = add_verb(verbs, "evaluate", "how far a network can be trusted, on labelled images")
    evaluate_command.add_arguments(verb)
    verb.set_defaults(call=evaluate_command.run)

    verb = add_verb(
        verbs, "noise", "noise constants of the difference method from aurora-free frames"
    )
    _evidence_arguments(verb)
    verb.add_argument("--per-cell", action="store_true", help="one number for each sky cell")
    verb.set_defaults(call=_noise)

    verb = add_verb(verbs, "sweep", "what the difference method flags at other thresholds")
    _evidence_arguments(verb)
    verb.set_defaults(call=_sweep)

    verb = add_verb(verbs, "train", "train the network on labelled or simulated frames")
    training.add_arguments(verb)
    verb.set_defaults(call=_train)

    verb = add_verb(verbs, "card", "print what a weights file is and what is known of it")
    verb.add_argument("weights", metavar="WEIGHTS", help="safetensors file, or package:NAME")
    verb.set_defaults(call=_card)

    verb = add_verb(verbs, "sample", "write the simulated sample archive with its truth")
    verb.add_argument("directory", metavar="DIRECTORY", type=Path, help="new, or of a sample")
    verb.add_argument("--tiny", action="store_true", help="a few small frames, for trials")
    verb.set_defaults(call=_sample)

    verb = add_verb(verbs, "simulate", "write simulated scenes with masks as a labelled set")
    verb.add_argument("directory", metavar="DIRECTORY", type=Path, help="new or empty")
    verb.add_argument(
        "--family", metavar="NAME", default="wide",
        help="training, test, wide, held-out-camera, held-out-cloud, held-out-aurora or held-out; "
        "default wide",
    )  # fmt: skip
    verb.add_argument("--frames", metavar="N", type=int, required=True, help="number of scenes")
    verb.add_argument(
        "--first", metavar="N", type=int, default=0, help="number of the first scene; default 0"
    )
    verb.add_argument("--size", metavar="PX", type=int, default=256, help="side; default 256")
    verb.add_argument("--processes", metavar="N", type=int, default=2, help="default 2")
    verb.set_defaults(call=_simulate)

    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    ready_streams()
    options = make_parser().parse_args(arguments)
    try:
        code: int = options.call(options)
    except (ReprocessError, OSError, KeyboardInterrupt) as error:
        return run.tell(error)
    return code


def _add_campaign(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("campaign", metavar="CAMPAIGN", help="campaign YAML")


def _evidence_arguments(verb: argparse.ArgumentParser) -> None:
    _add_campaign(verb)
    verb.add_argument("label", metavar="LABEL", help="a detector of kind difference, already run")
    verb.add_argument(
        "--between", nargs=2, metavar="TIME", required=True, action="append",
        help="span of time, UTC, such as 2021-06-01T10:00 2021-06-01T11:00; may be repeated",
    )  # fmt: skip
    verb.add_argument("--store", metavar="URL", help="where the stores are; default the campaign's")
    add_access(verb)
    add_overrides(verb)


def _trace(options: argparse.Namespace) -> int:
    from reprocess import trace

    stored = command.stored_of(options)
    found = trace.trace(stored, options.detector, options.month, options.mlt, options.cell)
    print(trace.text(found, frames=options.frames))
    return 0


def _verify(options: argparse.Namespace) -> int:
    import json
    import logging

    from reprocess.campaign import load_campaign
    from reprocess.report import CheckLine, ProgressLine
    from reprocess.stores.objects import open_objects
    from reprocess.verification.reconcile import reconcile, refuse_another_campaign
    from reprocess.verification.repair import refuse_other_settings, repair_store
    from reprocess.verification.verify import verify_store

    run.log_to_stderr()
    years, access = years_of(options), access_of(options)
    path = options.repair or options.campaign
    campaign = None
    if path is not None:
        campaign = load_campaign(path, options.overrides, store=options.store, access=access)
        objects = open_objects(campaign.store, campaign.store_access)
        refuse_another_campaign(objects, campaign)
        if options.repair:
            refuse_other_settings(campaign, objects)
    with CheckLine() as progress:
        found = verify_store(options.store, years, progress, campaign, access)
    reconcile(found, campaign, access, of_repair=bool(options.repair))
    print(found.text())
    documents = {"verification": found.document()}
    sound = found.sound
    if options.repair and campaign is not None and not sound:
        say = logging.getLogger("reprocess").info
        with ProgressLine() as done:
            repaired = repair_store(campaign, found, options.cluster, say, done)
        print(f"\n{repaired.text()}\n")
        with CheckLine() as progress:
            again = verify_store(options.store, years, progress, campaign, access)
        print(f"verified again\n{again.text()}")
        documents |= {"repair": repaired.document(), "verified_again": again.document()}
        sound = again.sound and repaired.complete
    if options.json:
        print(json.dumps(documents, sort_keys=True))
    return run.EXIT_COMPLETE if sound else run.EXIT_FAILED


def _train(options: argparse.Namespace) -> int:
    run.log_to_stderr()
    return run.EXIT_COMPLETE if training.run(options) else run.EXIT_FAILED


def _card(options: argparse.Namespace) -> int:
    from reprocess.detectors.card import card_text

    print(card_text(options.weights), end="")
    return 0


def _sample(options: argparse.Namespace) -> int:
    from reprocess.simulate.archive import write_sample

    path = write_sample(options.directory, tiny=options.tiny)
    print(f"campaign: {path}\nrun it:   python -m reprocess.run {path}")
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from reprocess.simulate.labelled import write_scenes

    shown = write_scenes(
        options.directory, options.family, options.frames, first=options.first,
        size_px=options.size, processes=options.processes,
    )  # fmt: skip
    print(
        f"{options.directory}: {options.frames} scenes of family {options.family}, {shown} of them "
        f"with visible aurora"
    )
    return 0


def _report(options: argparse.Namespace) -> int:
    from reprocess.page.write import write_report

    output: Path | None = options.output
    if output is not None and not output.absolute().parent.is_dir():
        raise ConfigurationError(
            f"report {output}: found no directory {output.parent}, expected one that is there"
        )
    print(write_report(options.store, options.run, output, access_of(options)))
    return 0


def _plot_cells(options: argparse.Namespace) -> int:
    from reprocess.calibrate.table import parse_utc, read_image
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


def _labels_sample(options: argparse.Namespace) -> int:
    from reprocess.simulate.sample_labels import label_sample

    print(f"{options.output}: {label_sample(options.directory, options.output)} images")
    return 0


def _noise(options: argparse.Namespace) -> int:
    from reprocess.noise import measure_noise

    found = measure_noise(
        _evidence_campaign(options), options.label, _spans(options), per_cell=options.per_cell
    )
    print(found)
    return 0


def _sweep(options: argparse.Namespace) -> int:
    from reprocess.noise import sweep

    print(sweep(_evidence_campaign(options), options.label, _spans(options)))
    return 0


def _evidence_campaign(options: argparse.Namespace) -> Campaign:
    from reprocess.campaign import load_campaign

    access = access_of(options)
    return load_campaign(options.campaign, options.overrides, store=options.store, access=access)


def _spans(options: argparse.Namespace) -> list[tuple[str, str]]:
    return [(start, end) for start, end in options.between]


def _copy(options: argparse.Namespace) -> int:
    from reprocess.copy import copy_store
    from reprocess.stores.objects import open_objects

    years = years_of(options)
    source = open_objects(options.source, access_of(options, "--source-access"))
    target = open_objects(options.target, access_of(options, "--target-access"))
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
    from reprocess.clusters.check import check

    access = access_of(options)
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
