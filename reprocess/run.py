"""The main job's command line: campaign → plan → execute → count → report → exit code."""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from reprocess import report
from reprocess.campaign import Campaign, load_campaign, parse_years
from reprocess.clusters.open import check_cluster
from reprocess.errors import (
    ClusterError,
    ConfigurationError,
    LockHeld,
    LockLost,
    ReprocessError,
    ServiceUnavailable,
    StoreError,
)
from reprocess.history import Job, list_runs, new_run_id
from reprocess.job import run_job
from reprocess.options import (
    access_of,
    add_access,
    add_detectors,
    add_overrides,
    add_years,
    labels_of,
    parse_option_years,
    years_of,
)
from reprocess.request import Request
from reprocess.stores.objects import open_objects
from reprocess.streams import ready_streams
from reprocess.strict_yaml import parse_yaml

SAMPLE_DIRECTORY = "sample-run"
EXIT_COMPLETE, EXIT_FAILED, EXIT_CONFIGURATION, EXIT_CLUSTER, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the main job's arguments."""
    parser.add_argument(
        "campaign", metavar="CAMPAIGN", nargs="?",
        help="campaign YAML; without one the sample campaign is run",
    )  # fmt: skip
    add_years(parser, "the campaign's")
    add_detectors(parser, "labels to run; default all")
    parser.add_argument(
        "--cluster",
        default="local",
        metavar="NAME",
        help="serial, local, slurm, slurm-gpu, a profile FILE.yaml, or tcp://HOST:PORT",
    )
    parser.add_argument(
        "--store", metavar="URL", help="where the stores are; default the campaign's"
    )
    add_access(parser)
    add_overrides(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be done")
    parser.add_argument(
        "--recompute", nargs="+", action="extend", default=[], metavar="WHAT",
        help="frames, evidence, detections, cube, all, or a label: do it again",
    )  # fmt: skip
    parser.add_argument(
        "--gone", nargs="+", default=[], metavar="YEAR",
        help="years whose frames left the archive for good: erase what was made of them",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument(
        "--no-report", action="store_true", help="leave out runs/<run>/report.html, the run's page"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the main job and return its exit code."""
    ready_streams()
    parser = argparse.ArgumentParser(
        prog="reprocess run", description="Bring a campaign's stores and cube up to date."
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Run the main job from parsed arguments."""
    log_to_stderr()
    previous = signal.signal(signal.SIGTERM, _interrupt)
    page = _Page(new_run_id(), wanted=not (options.dry_run or options.no_report))
    try:
        campaign, sample = _campaign(options)
        page.campaign = campaign
        job = _run(campaign, options, page.run_id)
        if not options.dry_run:
            print(report.summary(job))
            page.write()
            if sample is not None:
                _picture_and_score(campaign, sample, job)
                page.copy(sample)
            elif page.place is not None:
                print(f"Report: {page.place}")
        if options.json:
            print(report.json_line(job, page.place))
        if job.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_COMPLETE if options.dry_run or job.complete else EXIT_FAILED
    except ReprocessError as error:
        code = tell(error)
        # A service that is away was waited for long enough.
        if code != EXIT_CONFIGURATION and not isinstance(error, ServiceUnavailable):
            page.write_if_run()
        return code
    except (OSError, KeyboardInterrupt) as error:
        return tell(error)
    finally:
        signal.signal(signal.SIGTERM, previous)


def tell(error: BaseException) -> int:
    """Say on standard error what stopped a verb, and return its exit code."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted: what is committed stays, run again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
    text, code = f"error: {error}", EXIT_CONFIGURATION
    if isinstance(error, (ClusterError, LockHeld)):
        code = EXIT_CLUSTER
    elif isinstance(error, (LockLost, ServiceUnavailable, StoreError)):
        code = EXIT_FAILED
    elif isinstance(error, OSError):
        text += (
            "; the store, the archive or the disk does not do what was asked of it: what is "
            "committed stays, run again when it does"
        )
        code = EXIT_FAILED
    print(text, file=sys.stderr)
    return code


def log_to_stderr() -> None:
    """Let the log go to standard error, a line each; standard output is for results.

    Of libraries only warnings: they would tell of fonts they found, and where credentials are.
    """
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    logging.getLogger("distributed").setLevel(logging.ERROR)
    logging.getLogger("reprocess").setLevel(logging.INFO)


class _Page:
    """The run's page: written after the numbers, and never a reason for a run to fail."""

    def __init__(self, run_id: str, *, wanted: bool) -> None:
        self.run_id = run_id
        self.campaign: Campaign | None = None
        self.place: str | None = None
        self._wanted = wanted

    def write(self) -> None:
        """Write it; a failure is said, and that is all."""
        if not self._wanted or self.campaign is None:
            return
        from reprocess.page.write import write_report

        try:
            self.place = write_report(
                self.campaign.store, self.run_id, access=self.campaign.store_access
            )
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the work is committed
            print(
                f"the report was not written ({type(error).__name__}: {error}); what the run "
                f"committed stands. Make it with: "
                f"reprocess report {self.campaign.store} --run {self.run_id}",
                file=sys.stderr,
            )

    def write_if_run(self) -> None:
        """Write it after an error, if the run came so far that there is something to say."""
        if self.campaign is None:
            return
        try:
            objects = open_objects(self.campaign.store, self.campaign.store_access)
            begun = self.run_id in list_runs(objects)
        except (OSError, ReprocessError):
            begun = False
        if begun:
            self.write()
        if self.place is not None:
            print(f"Report: {self.place}", file=sys.stderr)

    def copy(self, directory: Path) -> None:
        """Put a copy of it beside the sample's picture and score, and say where."""
        if self.place is not None:
            print(f"Report: {shutil.copy(self.place, directory / 'report.html')}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _campaign(options: argparse.Namespace) -> tuple[Campaign, Path | None]:
    """The campaign to run, and the sample's directory if it is the sample."""
    if options.campaign is not None:
        access = access_of(options)
        return load_campaign(
            options.campaign, options.overrides, store=options.store, access=access
        ), None
    from reprocess.simulate.archive import sample_text, write_sample

    directory = Path(SAMPLE_DIRECTORY if options.store is None else options.store).absolute()
    path = directory / "sample.yaml"
    if not (directory / "truth" / "manifest.json").exists():  # written when all is drawn
        check_cluster(options.cluster)
        _years(options, parse_years(parse_yaml(sample_text(), "sample.yaml")["years"]))
        logging.getLogger("reprocess").info("drawing the sample archive in %s", directory)
        path = write_sample(directory)
    store = str(directory / "store")
    return load_campaign(path, options.overrides, store=store), directory


def _years(options: argparse.Namespace, known: tuple[int, ...]) -> tuple[int, ...]:
    """Years to run: those asked for, or all of the campaign's."""
    years = years_of(options) or known
    outside = set(years) - set(known)
    if outside:
        raise ConfigurationError(
            f"--years: found {', '.join(map(str, sorted(outside)))}, expected years of the "
            f"campaign ({', '.join(map(str, known))})"
        )
    return years


def _run(campaign: Campaign, options: argparse.Namespace, run_id: str) -> Job:
    years = _years(options, campaign.years)
    check_cluster(options.cluster)
    labels = tuple(labels_of(options) or campaign.detectors)
    request = Request(
        years,
        labels,
        options.cluster,
        options.dry_run,
        tuple(options.recompute),
        gone=parse_option_years("--gone", options.gone) if options.gone else (),
    )
    with report.ProgressLine() as progress:
        say = logging.getLogger("reprocess").info
        job = run_job(campaign, request, say, progress, run_id)
    if options.dry_run:
        print(report.plan_table(job))
    return job


def _picture_and_score(campaign: Campaign, directory: Path, job: Job) -> None:
    from reprocess.cube.open import open_cube
    from reprocess.plot.occurrence import draw_occurrence
    from reprocess.simulate.score import format_score, score_sample

    if not job.complete:
        return
    picture = directory / "occurrence.png"
    text = directory / "score.txt"
    if job.published or not picture.exists() or not text.exists():
        draw_occurrence(open_cube(campaign.store, access=campaign.store_access), picture)
        score = format_score(score_sample(campaign.store, campaign, directory))
        text.write_text(f"{score}\n", encoding="utf-8")
    print(f"\n{text.read_text(encoding='utf-8')}\nPicture: {picture}")
    print(f"Cube: {campaign.store}/occurrence.zarr")


if __name__ == "__main__":
    sys.exit(main())
