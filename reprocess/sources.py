"""Where a day's frames come from: the archive, or the frames store.

Both yield the day a chunk of slots at a time, so that a worker can read and
decode ahead of the detectors.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reprocess import stages
from reprocess.archive.catalogue import Entry
from reprocess.archive.files import ArchiveBytes
from reprocess.archive.frames import (
    FrameBlock,
    FrameStatus,
    declares_levels,
    join,
    prepare,
    to_eight_bits,
)
from reprocess.archive.inputs import Column, DayInputs, assign, read_day, reasons, tail_hash
from reprocess.archive.pattern import NamePattern
from reprocess.archive.readers.reader import FrameHeader, Image, Reader, load_reader
from reprocess.archive.seen import Known
from reprocess.campaign import Campaign
from reprocess.errors import UnreadableFrame
from reprocess.stores.days import DayReader, DayWriter
from reprocess.stores.layout import NOT_ACQUIRED_US, chunk_slots
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Records, day_block

CHUNKS_AT_ONCE = 4
"""Of frames that are read from the store: one thread reads some 300 frames/s of 512 px,
fewer than a GPU can take."""


class ArchiveDay:
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
        self._exposure_s = np.full(len(self.inputs.entries), np.nan, np.float32)
        self._gain = np.full(len(self.inputs.entries), np.nan, np.float32)

    def blocks(self) -> Iterator[tuple[int, FrameBlock]]:
        """Decode the day, a chunk of slots at a time; unreadable frames are noted, not raised."""
        reader = load_reader(self.campaign.archive.reader)
        source = ArchiveBytes(self.campaign.archive)
        names = NamePattern(self.campaign.archive.pattern)
        chunk = chunk_slots(self.campaign.slots_per_day)
        size = self.campaign.image.size_px
        waiting = [i for i, column in enumerate(self.column) if column is None]
        waiting.sort(key=lambda index: int(self.slot[index]))
        left = Counter(self.inputs.entries[i].file for i in waiting)

        def decode(indices: list[int]) -> list[_Developed | str]:
            return self._decode(indices, reader, source, names)

        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool:
            for start in range(0, self.campaign.slots_per_day, chunk):
                mine = [i for i in waiting if start <= self.slot[i] < start + chunk]
                by_file: dict[str, list[int]] = {}
                for index in mine:
                    by_file.setdefault(self.inputs.entries[index].file, []).append(index)
                results: dict[int, _Developed | str] = {}
                for (file, indices), found in zip(
                    by_file.items(), pool.map(decode, by_file.values()), strict=True
                ):
                    results |= dict(zip(indices, found, strict=True))
                    left[file] -= len(indices)
                    if not left[file]:
                        self.inputs.data.pop(file, None)
                decoded = []
                for index in mine:
                    result = results[index]
                    if isinstance(result, str):
                        self.column[index], self.reason[index] = Column.UNREADABLE, result
                    else:
                        self.column[index] = Column.OK
                        self._exposure_s[index] = result.exposure_s
                        self._gain[index] = result.gain
                        decoded.append((index, result))
                yield start, self._block(decoded, size)

    def _decode(
        self, indices: list[int], reader: Reader, source: ArchiveBytes, names: NamePattern
    ) -> list[_Developed | str]:
        """Decode the wanted frames of one file, or say of each why it cannot be."""
        try:
            data = self.inputs.load(indices[0], source)
            single = self.inputs.entries[indices[0]].frame < 0
            images = [reader.read(data)] if single else reader.read_all(data)
        except UnreadableFrame as error:
            return [str(error)] * len(indices)
        try:
            headers = reader.headers(data)
        except UnreadableFrame:
            headers = [FrameHeader()] * len(images)
        found: list[_Developed | str] = []
        for index in indices:
            entry = self.inputs.entries[index]
            number = max(entry.frame, 0)
            try:
                image = self._develop(images[number], self._epoch[index])
            except UnreadableFrame as error:
                found.append(str(error))
                continue
            exposure_s, gain = names.told(entry.file)
            if np.isnan(exposure_s):
                exposure_s = headers[number].exposure_s
            if np.isnan(gain):
                gain = headers[number].gain
            found.append(_Developed(*image, exposure_s, gain))
        return found

    def _develop(
        self, stored: Image, epoch: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
        """The frame in 8 bits, and of a 16-bit archive also before that."""
        bits = self.campaign.archive.bits
        if stored.dtype.itemsize * 8 != bits:
            raise UnreadableFrame(
                f"has {stored.dtype.itemsize * 8} bits a count, archive.bits is {bits}"
            )
        camera = self.campaign.camera[epoch]
        counts = prepare(stored, camera, self.campaign.image.size_px)
        mono = stages.channels_of(self.campaign) == "mono"
        if mono and not (counts[..., :1] == counts).all():
            raise UnreadableFrame("has colour, the archive's channels are mono")
        image = to_eight_bits(counts, camera)
        return image, np.asarray(counts[..., : 1 if mono else 3]) if bits == 16 else None

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
        if block.image16 is not None:
            deep = np.zeros((chunk, *block.image16.shape[1:]), np.uint16)
            deep[block.slot - start] = block.image16
            mono = deep.shape[-1] == 1
            writer.write("image16", start, deep[..., 0] if mono else deep)

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
        for name, values in (("exposure_s", self._exposure_s), ("gain", self._gain)):
            by_slot = np.full(self.campaign.slots_per_day, np.nan, np.float32)
            rows = [i for i, column in enumerate(self.column) if column is Column.OK]
            by_slot[self.slot[rows]] = values[rows]
            writer.write(name, 0, by_slot)

    def fingerprint(self) -> str:
        return stages.frames_fingerprint(self.campaign, self.day, self.inputs.hash())

    def known(self) -> Known:
        """What the day hashes to, and its end, for detectors that look back at it tomorrow."""
        windows = {stages.context_s(self.campaign, label) for label in self.campaign.detectors}
        midnight = self.day + timedelta(days=1)
        tails = {w: tail_hash(self.inputs, midnight, w) for w in windows if w}
        return Known(self.inputs.hash(), tails, self.inputs.refused)

    def ledger(self) -> dict[str, int]:
        """Frames by column; the sum is the number of frames catalogued."""
        return dict(sorted(Counter(str(column) for column in self.column).items()))

    def facts(self) -> dict[str, Any]:
        """What the record keeps: every frame with its digest, and why those left out are."""
        epochs = [self.campaign.camera[i] for i in stages.epochs_on(self.campaign, self.day)]
        levels = {e.name: stages.level_settings(e) for e in epochs if declares_levels(e)}
        return {
            **({"levels": levels} if levels else {}),
            "ledger": self.ledger(),
            "frames": [
                [entry.name, digest, str(column), reason]
                for entry, digest, column, reason in zip(
                    self.inputs.entries, self.inputs.digest, self.column, self.reason, strict=True
                )
            ],
        }

    def _block(self, decoded: list[tuple[int, _Developed]], size: int) -> FrameBlock:
        rows = [index for index, _ in decoded]
        images = [found.image for _, found in decoded]
        image16 = None
        if self.campaign.archive.bits == 16:
            n_channels = 1 if stages.channels_of(self.campaign) == "mono" else 3
            deep = [found.image16 for _, found in decoded if found.image16 is not None]
            image16 = np.stack(deep) if deep else np.zeros((0, size, size, n_channels), np.uint16)
        return FrameBlock(
            slot=self.slot[rows],
            image=np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8),
            acquired=self.inputs.acquired[rows],
            epoch=self._epoch[rows],
            image16=image16,
            exposure_s=self._exposure_s[rows],
            gain=self._gain[rows],
        )


class _Developed(NamedTuple):
    """One decoded frame."""

    image: NDArray[np.uint8]
    image16: NDArray[np.uint16] | None
    exposure_s: float
    gain: float


class StoredDay:
    """A day's frames out of the frames store, for evidence that is made from committed frames."""

    def __init__(
        self,
        campaign: Campaign,
        objects: ObjectStore,
        records: Records,
        day: date,
        fingerprint: str,
        threads: int,
    ) -> None:
        self._campaign = campaign
        self._at_once = min(threads, CHUNKS_AT_ONCE)
        record = records.read(day_block("frames", "", day), fingerprint)
        path = stages.frames_path(day.year)
        self._reader = DayReader(objects, path, day, campaign.slots_per_day, record.objects)
        self._status = self._reader.read("status")
        self._acquired = self._reader.read("acquired")
        self._exposure_s = self._reader.read("exposure_s")
        self._gain = self._reader.read("gain")

    def blocks(self) -> Iterator[tuple[int, FrameBlock]]:
        """Read the day, a chunk of slots at a time; chunks without a frame are left out."""
        chunk = chunk_slots(self._campaign.slots_per_day)
        waiting: deque[tuple[int, Future[FrameBlock]]] = deque()
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="read") as pool:
            for start in range(0, self._campaign.slots_per_day, chunk):
                ok = np.flatnonzero(self._status[start : start + chunk] == FrameStatus.OK)
                if not len(ok):
                    continue
                waiting.append((start, pool.submit(self._block, start, chunk, ok)))
                if len(waiting) == self._at_once:
                    first, block = waiting.popleft()
                    yield first, block.result()
            for first, block in waiting:
                yield first, block.result()

    def _block(self, start: int, chunk: int, ok: NDArray[np.int64]) -> FrameBlock:
        acquired = self._acquired[start + ok].astype("datetime64[us]")
        image16 = None
        if self._campaign.archive.bits == 16:
            deep = self._reader.read("image16", start, chunk)[ok]
            image16 = deep[..., np.newaxis] if deep.ndim == 3 else deep
        return FrameBlock(
            slot=start + ok,
            image=self._reader.read("image", start, chunk)[ok],
            acquired=acquired,
            epoch=self._campaign.epoch_index(acquired),
            image16=image16,
            exposure_s=self._exposure_s[start + ok],
            gain=self._gain[start + ok],
        )

    def unreadable(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        slots = np.flatnonzero(self._status == FrameStatus.UNREADABLE)
        return slots, self._acquired[slots]


def latest(context: FrameBlock | None, block: FrameBlock, window_s: float) -> FrameBlock:
    """The frames that the next block may look back at: the last `window_s` before its first."""
    oldest = block.acquired[-1] - np.timedelta64(round(window_s * 1e6), "us")
    both = [block] if context is None else [context, block]
    return join([part[part.acquired >= oldest] for part in both])


def one_ahead(
    items: Iterator[tuple[int, FrameBlock]], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, FrameBlock]]:
    """Yield items while the next one is being made in the pool."""
    following = pool.submit(next, items, None)
    while (item := following.result()) is not None:
        following = pool.submit(next, items, None)
        yield item
