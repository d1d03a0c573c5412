"""One block, start to end: the one place where input, output and science meet.

`process_block` is what a Dask worker runs for a UTC day. It streams the day
in chunks: the next chunk is read and decoded, and the last one is stored,
while the detectors look at the present one. Records are taken back before
their data is overwritten and written after it is durable, so a kill at any
point leaves blocks that are whole or not there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess import stages
from reprocess.archive.frames import FrameBlock, join
from reprocess.archive.inputs import tail_hash
from reprocess.archive.seen import Known, tail
from reprocess.campaign import Campaign
from reprocess.detectors.detector import Evidence, EvidenceStatus
from reprocess.detectors.runtimes import available_cores
from reprocess.errors import LayoutDamaged, LockLost, StoreError
from reprocess.geometry.calibration import station_mlon_deg
from reprocess.geometry.ephemeris import moon_elevation_deg, sun_elevation_deg
from reprocess.geometry.magnetic import mlt_hours
from reprocess.plan import Task
from reprocess.sources import ArchiveDay, StoredDay, latest, one_ahead
from reprocess.stores.days import DayReader, DayWriter, erase_day
from reprocess.stores.layout import NOT_ACQUIRED_US, YearLayout
from reprocess.stores.lock import LockToken
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import (
    OVERWRITTEN,
    Block,
    Record,
    Records,
    day_block,
)

WHOLE = "block"
"""Among a result's seconds: the wall time of the whole day; stages overlap."""


@dataclass(frozen=True)
class TaskResult:
    """What the driver learns from one finished day: a few hundred bytes.

    Attributes
    ----------
    fingerprints : of every block of the day that is now committed
    known : what the day's frames hash to; None if they were not read
    context : what the end of the day before hashes to, if it was read
    ledger : frames by column; None if the frames stage did not run
    seconds : wall time by stage, and of the whole block
    """

    day: date
    fingerprints: Mapping[Block, str]
    known: Known | None = None
    context: Known = field(default_factory=Known)
    ledger: Mapping[str, int] | None = None
    n_frames: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


def process_block(
    task: Task, campaign: Campaign, store_url: str, lock: LockToken, threads: int | None = None
) -> TaskResult:
    """Do one task's stale stages and commit them.

    Parameters
    ----------
    task : the day and what of it is stale
    lock : checked before every chunk and every record
    threads : frames read and decoded, or passed through a network, at one time;
        default the cores this process may use, shared by the Dask worker's threads

    Raises
    ------
    LockLost
        If another run has taken the year over; nothing further was written but a mark on the
        block that this one was writing, so that it is done again.
    StoreError, OSError
        If the store or the archive fails; what was committed before stays.
    """
    objects = open_objects(store_url, campaign.store_access)
    block = _DayBlock(task, campaign, objects, lock, threads or available_cores())
    try:
        return block.erase() if task.erase else block.run()
    except LockLost:
        block.mark_overwritten()
        raise


class _DayBlock:
    def __init__(
        self,
        task: Task,
        campaign: Campaign,
        objects: ObjectStore,
        lock: LockToken,
        threads: int,
    ) -> None:
        self.task = task
        self.day = task.day
        self.campaign = campaign
        self.objects = objects
        self.records = Records(objects)
        self.lock = lock
        self.threads = threads
        self.slots = campaign.slots_per_day
        self.fingerprints: dict[Block, str] = dict(task.committed)
        self.seconds: dict[str, float] = {}
        self.n_frames = 0
        self.context_refused = False
        self.writing: Block | None = None

    # --- the whole day ---------------------------------------------------------

    def run(self) -> TaskResult:
        began = time.perf_counter()
        frames = day_block("frames", "", self.day)
        source: ArchiveDay | StoredDay | None = None
        read: ArchiveDay | None = None
        context_blocks: dict[float, tuple[FrameBlock | None, str]] = {}
        evidence_labels = self.task.labels("evidence")
        self._take_back()
        if frames in self.task.todo:
            read = ArchiveDay(self.campaign, self.day, self.task.entries, self.threads)
            source = read
        elif evidence_labels:
            try:
                source = StoredDay(
                    self.campaign,
                    self.objects,
                    self.records,
                    self.day,
                    self.fingerprints[frames],
                    self.threads,
                )
            except StoreError as error:
                self._distrust(frames, error)
                raise
        for window_s in {stages.context_s(self.campaign, label) for label in evidence_labels}:
            context_blocks[window_s] = self._context(window_s)
        measured: dict[str, list[Evidence]] = {label: [] for label in evidence_labels}
        if source is not None:
            try:
                self._stream(source, read, measured, context_blocks)
            except StoreError as error:
                self._distrust(frames, error)
                raise
        if read is not None:
            self._commit(frames, read.fingerprint(), read.digests, read.facts())
        days: dict[str, _EvidenceDay] = {}
        for label in evidence_labels:
            window_s = stages.context_s(self.campaign, label)
            context_hash = context_blocks[window_s][1] if window_s else ""
            assert source is not None
            days[label] = self._write_evidence(
                label, measured.pop(label), context_hash, source.unreadable()
            )
        for label in self.task.labels("detections"):
            try:
                measured_day = days.pop(label) if label in days else self._stored_evidence(label)
            except StoreError as error:
                self._distrust(day_block("evidence", label, self.day), error)
                raise
            self._write_detections(label, measured_day)
        self._spent(WHOLE, began)
        return TaskResult(
            day=self.day,
            fingerprints=self.fingerprints,
            known=None if read is None else read.known(),
            context=Known(
                tails={window: found[1] for window, found in context_blocks.items() if window},
                refused=self.context_refused,
            ),
            ledger=None if read is None else read.ledger(),
            n_frames=self.n_frames,
            seconds=self.seconds,
        )

    def erase(self) -> TaskResult:
        """Leave nothing of the day: its records, then its chunks."""
        self._take_back()
        for block in self.task.todo:
            path = {
                "frames": stages.frames_path(block.year),
                "evidence": stages.evidence_path(block.label, block.year),
                "detections": stages.detections_path(block.label, block.year),
            }[block.stage]
            self.writing = block
            erase_day(
                self.objects, path, self.day, self.slots, lambda: self.lock.check(self.objects)
            )
            self.lock.check(self.objects)
            self.writing = None
        self.records.delete_all(day_block("frames", "", self.day))
        return TaskResult(day=self.day, fingerprints={})

    def _take_back(self) -> None:
        """Delete the records of everything that is about to be overwritten, children first."""
        for block in [*self.task.withdrawn, *reversed(list(self.task.todo))]:
            self.lock.check(self.objects)
            if block.stage == "frames":
                self.records.begin(block)
            else:
                self.records.delete_all(block)

    def mark_overwritten(self) -> None:
        """Make sure that the next run does the block again which this orphan was writing.

        The write that followed the last check of the lock may have come after the new holder's.
        A mark beside its record, and not the record's removal, because that may yet be written.
        """
        if self.writing is not None:
            self.records.mark(self.writing, OVERWRITTEN)

    def _distrust(self, block: Block, error: StoreError) -> None:
        """Take back a record whose bytes are not what it says: the next run makes the block."""
        if isinstance(error, LayoutDamaged):
            return  # the year's metadata is at fault, and no block of it
        self.lock.check(self.objects)
        self.records.delete_all(block)

    def _commit(
        self, block: Block, fingerprint: str, digests: dict[str, str], facts: dict[str, Any]
    ) -> None:
        self.lock.check(self.objects)
        self.writing = None
        self.records.write(Record(block, fingerprint, digests, facts))
        if block.stage == "frames":
            self.lock.check(self.objects)  # else the mark may be the new holder's
            self.records.finish(block)
        self.fingerprints[block] = fingerprint

    # --- frames and evidence, streamed ------------------------------------------

    def _stream(
        self,
        source: ArchiveDay | StoredDay,
        read: ArchiveDay | None,
        measured: dict[str, list[Evidence]],
        contexts: Mapping[float, tuple[FrameBlock | None, str]],
    ) -> None:
        writer = None
        if read is not None:
            layout = stages.frames_layout(self.campaign, self.day.year)
            writer = self._writer(layout, day_block("frames", "", self.day))
        previous = {
            label: contexts[window][0]
            for label in measured
            if (window := stages.context_s(self.campaign, label))
        }
        detectors = {label: stages.detector_of(self.campaign, label) for label in measured}
        with ThreadPoolExecutor(2, thread_name_prefix="stream") as pool:
            stored: Future[None] | None = None
            for slot, block in one_ahead(source.blocks(), pool):
                if writer is not None and read is not None:
                    if stored is not None:
                        stored.result()
                    stored = pool.submit(read.store_images, writer, slot, block)
                if not len(block):
                    continue
                self.n_frames += len(block)
                for label, detector in detectors.items():
                    started = time.perf_counter()
                    context = previous.get(label)
                    measured[label].append(
                        detector.measure(block, context, self.campaign, self.threads)
                    )
                    self._spent(label, started)
                    if detector.context_s:
                        previous[label] = latest(context, block, detector.context_s)
            if stored is not None:
                stored.result()
        if writer is not None and read is not None:
            read.store_times(writer)
            read.digests = writer.finish(stages.frames_variables(self.campaign))

    def _context(self, window_s: float) -> tuple[FrameBlock | None, str]:
        """The frames before midnight, decoded from the archive, and what they hash to.

        They alone are looked at: one that has the content of a frame earlier on its day is no
        duplicate here, for that frame is not read.
        """
        if not window_s:
            return None, ""
        before = self.day - timedelta(days=1)
        entries = tail(self.task.context, self.day, window_s)
        day = ArchiveDay(self.campaign, before, entries, self.threads)
        self.context_refused |= day.inputs.refused
        blocks = [block for _, block in day.blocks() if len(block)]
        return (join(blocks) if blocks else None), tail_hash(day.inputs, self.day, window_s)

    def _write_evidence(
        self,
        label: str,
        parts: list[Evidence],
        context_hash: str,
        unreadable: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> _EvidenceDay:
        layout = stages.evidence_layout(self.campaign, label, self.day.year)
        detector = stages.detector_of(self.campaign, label)
        day = _EvidenceDay.empty(layout, self.slots)
        for part in parts:
            day.acquired[part.slot] = part.acquired.astype("datetime64[us]").astype(np.int64)
            day.status[part.slot] = part.status
            for name, values in part.values.items():
                day.values[name][part.slot] = values
        slots, times = unreadable
        day.acquired[slots] = times
        day.status[slots] = EvidenceStatus.UNREADABLE
        started = time.perf_counter()
        block = day_block("evidence", label, self.day)
        writer = self._writer(layout, block)
        for name, values in day.values.items():
            writer.write(name, 0, values)
        writer.write("acquired", 0, day.acquired)
        writer.write("status", 0, day.status)
        digests = writer.finish([v.name for v in layout.variables])
        self._spent("write", started)
        frames = self.fingerprints[day_block("frames", "", self.day)]
        self._commit(
            block,
            stages.evidence_fingerprint(self.campaign, label, self.day, frames, context_hash),
            digests,
            {
                "frames": frames,
                "context": context_hash,
                "settings": stages.evidence_settings(self.campaign, label),
                "profile": detector.profile(),
                "frames_by_status": _by_status(day.status),
            },
        )
        return day

    def _stored_evidence(self, label: str) -> _EvidenceDay:
        block = day_block("evidence", label, self.day)
        record = self.records.read(block, self.fingerprints[block])
        layout = stages.evidence_layout(self.campaign, label, self.day.year)
        reader = DayReader(self.objects, layout.path, self.day, self.slots, record.objects)
        names = [v.name for v in layout.variables if v.name not in ("acquired", "status")]
        return _EvidenceDay(
            acquired=reader.read("acquired"),
            status=reader.read("status"),
            values={name: reader.read(name) for name in names},
        )

    # --- detections --------------------------------------------------------------

    def _write_detections(self, label: str, day: _EvidenceDay) -> None:
        started = time.perf_counter()
        layout = stages.detections_layout(self.campaign, label, self.day.year)
        present = np.flatnonzero(day.status != EvidenceStatus.NO_FRAME)
        times = day.acquired[present].astype("datetime64[us]")
        evidence = Evidence(
            acquired=times,
            slot=present,
            status=day.status[present],
            values={name: values[present] for name, values in day.values.items()},
        )
        detector = stages.detector_of(self.campaign, label)
        fraction = _filled(layout, "fraction", self.slots)
        mlt, sun, moon = (
            _filled(layout, name, self.slots) for name in ("mlt", "sun_elevation", "moon_elevation")
        )
        if len(present):
            epochs = self.campaign.epoch_index(times)
            # Beside each other: shares of cells leave Python's lock to the rest.
            with ThreadPoolExecutor(1, "fractions") as pool:
                shares = pool.submit(
                    detector.fractions, evidence, epochs, self.campaign, self.threads
                )
                mlt[present] = mlt_hours(station_mlon_deg(self.campaign), times)
                sun[present] = sun_elevation_deg(self.campaign.site, times)
                moon[present] = moon_elevation_deg(self.campaign.site, times)
                fraction[present] = shares.result()
        writer = self._writer(layout, day_block("detections", label, self.day))
        writer.write("fraction", 0, fraction)
        writer.write("acquired", 0, day.acquired)
        writer.write("status", 0, day.status)
        writer.write("mlt", 0, mlt)
        writer.write("sun_elevation", 0, sun)
        writer.write("moon_elevation", 0, moon)
        digests = writer.finish(stages.DETECTIONS_VARIABLES)
        evidence_fingerprint = self.fingerprints[day_block("evidence", label, self.day)]
        self._commit(
            day_block("detections", label, self.day),
            stages.detections_fingerprint(self.campaign, label, self.day, evidence_fingerprint),
            digests,
            {
                "evidence": evidence_fingerprint,
                "thresholds": {
                    self.campaign.camera[i].name: detector.detection_settings(
                        self.campaign.camera[i]
                    )
                    for i in stages.epochs_on(self.campaign, self.day)
                },
                "frames_by_status": _by_status(day.status),
            },
        )
        self._spent("detections", started)

    # --- small things --------------------------------------------------------------

    def _writer(self, layout: YearLayout, block: Block) -> DayWriter:
        self.writing = block
        return DayWriter(
            self.objects, layout.path, self.day, self.slots, lambda: self.lock.check(self.objects)
        )

    def _spent(self, what: str, started: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started


@dataclass
class _EvidenceDay:
    """One label's evidence on a whole day's slots."""

    acquired: NDArray[np.int64]
    status: NDArray[np.uint8]
    values: dict[str, NDArray[Any]]

    @classmethod
    def empty(cls, layout: YearLayout, slots: int) -> _EvidenceDay:
        names = [v.name for v in layout.variables if v.name not in ("acquired", "status")]
        return cls(
            acquired=np.full(slots, NOT_ACQUIRED_US, np.int64),
            status=np.zeros(slots, np.uint8),
            values={name: _filled(layout, name, slots) for name in names},
        )


def _filled(layout: YearLayout, name: str, slots: int) -> NDArray[Any]:
    variable = next(v for v in layout.variables if v.name == name)
    return np.full((slots, *variable.shape), variable.fill, variable.dtype)


def _by_status(status: NDArray[np.uint8]) -> dict[str, int]:
    return {
        member.name.lower(): int((status == member).sum())
        for member in EvidenceStatus
        if member is not EvidenceStatus.NO_FRAME and (status == member).any()
    }
