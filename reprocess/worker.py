"""One block, start to end: the one place where input, output and science meet.

`process_block` is what a Dask worker runs for a UTC day. It streams the day
in chunks: the next chunk is read and decoded, and the last one is stored,
while the detectors look at the present one. Records are taken back before
their data is overwritten and written after it is durable, so a kill at any
point leaves blocks that are whole or not there.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess import stages
from reprocess.archive.catalogue import ArchiveBytes, Entry
from reprocess.archive.frames import FrameBlock, FrameStatus, prepare
from reprocess.archive.inputs import Column, DayInputs, assign, read_day, reasons, tail_hash
from reprocess.archive.readers.reader import load_reader
from reprocess.archive.seen import tail
from reprocess.campaign import Campaign
from reprocess.detectors.detector import Evidence, EvidenceStatus
from reprocess.errors import UnreadableFrame
from reprocess.geometry.calibration import station_mlon_deg
from reprocess.geometry.ephemeris import moon_elevation_deg, sun_elevation_deg
from reprocess.geometry.magnetic import mlt_hours
from reprocess.plan import UNFINISHED, Task
from reprocess.stores.layout import (
    NOT_ACQUIRED_US,
    DayReader,
    DayWriter,
    YearLayout,
    chunk_slots,
    erase_day,
)
from reprocess.stores.lock import LockToken
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import Block, Record, Records, day_block


@dataclass(frozen=True)
class TaskResult:
    """What the driver learns from one finished day: a few hundred bytes.

    Attributes
    ----------
    fingerprints : of every block of the day that is now committed
    inputs, tails : what the day's frames hash to (`plan.Known`); None and empty if not read
    ledger : frames by column; None if the frames stage did not run
    seconds : wall time by stage
    """

    day: date
    fingerprints: Mapping[Block, str]
    inputs: str | None = None
    tails: Mapping[float, str] = field(default_factory=dict)
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
        If another run has taken the year over; nothing further was written.
    StoreError, OSError
        If the store or the archive fails; what was committed before stays.
    """
    objects = open_objects(store_url)
    block = _DayBlock(task, campaign, objects, lock, threads or available_cores())
    if task.erase:
        return block.erase()
    return block.run()


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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

    # --- the whole day ---------------------------------------------------------

    def run(self) -> TaskResult:
        frames = day_block("frames", "", self.day)
        source: _ArchiveDay | _StoredDay | None = None
        read: _ArchiveDay | None = None
        context_blocks: dict[float, tuple[FrameBlock | None, str]] = {}
        evidence_labels = self.task.labels("evidence")
        self._take_back()
        if frames in self.task.todo:
            read = _ArchiveDay(self.campaign, self.day, self.task.entries, self.threads)
            source = read
        elif evidence_labels:
            source = _StoredDay(
                self.campaign, self.objects, self.records, self.day, self.fingerprints[frames]
            )
        for window_s in {stages.context_s(self.campaign, label) for label in evidence_labels}:
            context_blocks[window_s] = self._context(window_s)
        measured: dict[str, list[Evidence]] = {label: [] for label in evidence_labels}
        if source is not None:
            self._stream(source, read, measured, context_blocks)
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
            measured_day = days.pop(label) if label in days else self._stored_evidence(label)
            self._write_detections(label, measured_day)
        return TaskResult(
            day=self.day,
            fingerprints=self.fingerprints,
            inputs=None if read is None else read.inputs.hash(),
            tails={} if read is None else read.tails(),
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
            erase_day(
                self.objects, path, self.day, self.slots, lambda: self.lock.check(self.objects)
            )
        self.lock.check(self.objects)
        self.records.delete_all(day_block("frames", "", self.day))
        return TaskResult(day=self.day, fingerprints={})

    def _take_back(self) -> None:
        """Delete the records of everything that is about to be overwritten, children first."""
        for block in [*self.task.withdrawn, *reversed(list(self.task.todo))]:
            self.lock.check(self.objects)
            if block.stage == "frames":
                # Until the day is whole a mark tells of it, should its frames leave the archive.
                self.records.write(Record(block, UNFINISHED))
                found = self.records.list([block.year]).get(block, [])
                self.records.delete(block, [f for f in found if f != UNFINISHED])
            else:
                self.records.delete_all(block)

    def _commit(
        self, block: Block, fingerprint: str, digests: dict[str, str], facts: dict[str, Any]
    ) -> None:
        self.lock.check(self.objects)
        self.records.write(Record(block, fingerprint, digests, facts))
        if block.stage == "frames":
            self.records.delete(block, [UNFINISHED])
        self.fingerprints[block] = fingerprint

    # --- frames and evidence, streamed ------------------------------------------

    def _stream(
        self,
        source: _ArchiveDay | _StoredDay,
        read: _ArchiveDay | None,
        measured: dict[str, list[Evidence]],
        contexts: Mapping[float, tuple[FrameBlock | None, str]],
    ) -> None:
        writer = self._writer(stages.frames_layout(self.campaign, self.day.year)) if read else None
        previous = {
            label: contexts[window][0]
            for label in measured
            if (window := stages.context_s(self.campaign, label))
        }
        detectors = {label: stages.detector_of(self.campaign, label) for label in measured}
        with ThreadPoolExecutor(2, thread_name_prefix="stream") as pool:
            stored: Future[None] | None = None
            for slot, block in _one_ahead(source.blocks(), pool):
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
                        previous[label] = _latest(context, block, detector.context_s)
            if stored is not None:
                stored.result()
        if writer is not None and read is not None:
            read.store_times(writer)
            read.digests = writer.finish(stages.FRAMES_VARIABLES)

    def _context(self, window_s: float) -> tuple[FrameBlock | None, str]:
        """The frames before midnight, decoded from the archive, and what they hash to."""
        if not window_s:
            return None, ""
        before = self.day - timedelta(days=1)
        entries = tail(self.task.context, self.day, window_s)
        day = _ArchiveDay(self.campaign, before, entries, self.threads)
        blocks = [block for _, block in day.blocks() if len(block)]
        return (_join(blocks) if blocks else None), tail_hash(day.inputs, self.day, window_s)

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
        writer = self._writer(layout)
        for name, values in day.values.items():
            writer.write(name, 0, values)
        writer.write("acquired", 0, day.acquired)
        writer.write("status", 0, day.status)
        digests = writer.finish([v.name for v in layout.variables])
        self._spent("write", started)
        block = day_block("evidence", label, self.day)
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
            fraction[present] = detector.fractions(evidence, epochs, self.campaign)
            mlt[present] = mlt_hours(station_mlon_deg(self.campaign), times)
            sun[present] = sun_elevation_deg(self.campaign.site, times)
            moon[present] = moon_elevation_deg(self.campaign.site, times)
        writer = self._writer(layout)
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

    def _writer(self, layout: YearLayout) -> DayWriter:
        return DayWriter(
            self.objects, layout.path, self.day, self.slots, lambda: self.lock.check(self.objects)
        )

    def _spent(self, what: str, started: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started


class _ArchiveDay:
    """A day's frames out of the archive: read, hashed, placed, decoded on the way through."""

    def __init__(
        self, campaign: Campaign, day: date, entries: Iterable[Entry], threads: int
    ) -> None:
        self.campaign = campaign
        self.day = day
        self.threads = threads
        self.inputs: DayInputs = read_day(campaign, list(entries), threads, keep_bytes=True)
        self.slot, self.column = assign(campaign, day, self.inputs)
        self.reason = reasons(campaign, self.inputs, self.column)
        self.digests: dict[str, str] = {}
        self._epoch = campaign.epoch_index(self.inputs.acquired)

    def blocks(self) -> Iterator[tuple[int, FrameBlock]]:
        """Decode the day, a chunk of slots at a time; unreadable frames are noted, not raised."""
        reader = load_reader(self.campaign.archive.reader)
        source = ArchiveBytes(self.campaign.archive)
        chunk = chunk_slots(self.campaign.slots_per_day)
        size = self.campaign.image.size_px
        waiting = [i for i, column in enumerate(self.column) if column is None]
        waiting.sort(key=lambda index: int(self.slot[index]))

        def decode(index: int) -> NDArray[np.uint8] | str:
            try:
                image = reader.read(self.inputs.load(index, source))
                return prepare(image, self.campaign.camera[self._epoch[index]], size)
            except UnreadableFrame as error:
                return str(error)

        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool:
            for start in range(0, self.campaign.slots_per_day, chunk):
                mine = [i for i in waiting if start <= self.slot[i] < start + chunk]
                decoded = []
                for index, image in zip(mine, pool.map(decode, mine), strict=True):
                    if isinstance(image, str):
                        self.column[index], self.reason[index] = Column.UNREADABLE, image
                    else:
                        self.column[index] = Column.OK
                        decoded.append((index, image))
                    self.inputs.data.pop(self.inputs.entries[index].name, None)
                yield start, self._block(decoded, size)

    def unreadable(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Slots whose frame cannot be read, and its time in microseconds."""
        rows = [
            i for i, c in enumerate(self.column) if c is Column.UNREADABLE and self.slot[i] >= 0
        ]
        return self.slot[rows], self.inputs.acquired.astype(np.int64)[rows]

    def store_images(self, writer: DayWriter, start: int, block: FrameBlock) -> None:
        """Write one chunk of slots; slots without a frame are left empty."""
        chunk = chunk_slots(self.campaign.slots_per_day)
        size = self.campaign.image.size_px
        images = np.zeros((chunk, size, size, 3), np.uint8)
        images[block.slot - start] = block.image
        writer.write("image", start, images)

    def store_times(self, writer: DayWriter) -> None:
        """Write what is in each slot of the day, and when it was taken."""
        acquired = np.full(self.campaign.slots_per_day, NOT_ACQUIRED_US, np.int64)
        status = np.zeros(self.campaign.slots_per_day, np.uint8)
        times = self.inputs.acquired.astype(np.int64)
        for index, column in enumerate(self.column):
            if self.slot[index] >= 0 and column in (Column.OK, Column.UNREADABLE):
                acquired[self.slot[index]] = times[index]
                ok = column is Column.OK
                status[self.slot[index]] = FrameStatus.OK if ok else FrameStatus.UNREADABLE
        writer.write("acquired", 0, acquired)
        writer.write("status", 0, status)

    def fingerprint(self) -> str:
        return stages.frames_fingerprint(self.campaign, self.day, self.inputs.hash())

    def tails(self) -> dict[float, str]:
        """Hashes of the day's end, for the detectors that look back at it tomorrow."""
        windows = {stages.context_s(self.campaign, label) for label in self.campaign.detectors}
        return {w: tail_hash(self.inputs, self.day + timedelta(days=1), w) for w in windows if w}

    def ledger(self) -> dict[str, int]:
        """Frames by column; the sum is the number of frames catalogued."""
        return dict(sorted(Counter(str(column) for column in self.column).items()))

    def facts(self) -> dict[str, Any]:
        """What the record keeps: every frame with its digest, and why those left out are."""
        return {
            "ledger": self.ledger(),
            "frames": [
                [entry.name, digest, str(column), reason]
                for entry, digest, column, reason in zip(
                    self.inputs.entries, self.inputs.digest, self.column, self.reason, strict=True
                )
            ],
        }

    def _block(self, decoded: list[tuple[int, NDArray[np.uint8]]], size: int) -> FrameBlock:
        rows = [index for index, _ in decoded]
        images = [image for _, image in decoded]
        return FrameBlock(
            slot=self.slot[rows],
            image=np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8),
            acquired=self.inputs.acquired[rows],
            epoch=self._epoch[rows],
        )


class _StoredDay:
    """A day's frames out of the frames store, for evidence that is made from committed frames."""

    def __init__(
        self,
        campaign: Campaign,
        objects: ObjectStore,
        records: Records,
        day: date,
        fingerprint: str,
    ) -> None:
        self._campaign = campaign
        record = records.read(day_block("frames", "", day), fingerprint)
        path = stages.frames_path(day.year)
        self._reader = DayReader(objects, path, day, campaign.slots_per_day, record.objects)
        self._status = self._reader.read("status")
        self._acquired = self._reader.read("acquired")

    def blocks(self) -> Iterator[tuple[int, FrameBlock]]:
        chunk = chunk_slots(self._campaign.slots_per_day)
        for start in range(0, self._campaign.slots_per_day, chunk):
            ok = np.flatnonzero(self._status[start : start + chunk] == FrameStatus.OK)
            if not len(ok):
                continue
            acquired = self._acquired[start + ok].astype("datetime64[us]")
            yield (
                start,
                FrameBlock(
                    slot=start + ok,
                    image=self._reader.read("image", start, chunk)[ok],
                    acquired=acquired,
                    epoch=self._campaign.epoch_index(acquired),
                ),
            )

    def unreadable(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        slots = np.flatnonzero(self._status == FrameStatus.UNREADABLE)
        return slots, self._acquired[slots]


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


def _join(blocks: list[FrameBlock]) -> FrameBlock:
    return FrameBlock(
        slot=np.concatenate([b.slot for b in blocks]),
        image=np.concatenate([b.image for b in blocks]),
        acquired=np.concatenate([b.acquired for b in blocks]),
        epoch=np.concatenate([b.epoch for b in blocks]),
    )


def _latest(context: FrameBlock | None, block: FrameBlock, window_s: float) -> FrameBlock:
    """The frames that the next block may look back at: the last `window_s` before its first."""
    joined = block if context is None else _join([context, block])
    oldest = block.acquired[-1] - np.timedelta64(round(window_s * 1e6), "us")
    keep = joined.acquired >= oldest
    return FrameBlock(
        joined.slot[keep], joined.image[keep], joined.acquired[keep], joined.epoch[keep]
    )


def _one_ahead(
    items: Iterator[tuple[int, FrameBlock]], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, FrameBlock]]:
    """Yield items while the next one is being made in the pool."""
    following = pool.submit(next, items, None)
    while (item := following.result()) is not None:
        following = pool.submit(next, items, None)
        yield item
