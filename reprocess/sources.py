"""Where a day's frames come from: the archive, or the frames store.

Both yield the day a chunk of slots at a time, so that a worker can read and
decode ahead of the detectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess import stages
from reprocess.archive.catalogue import ArchiveBytes, Entry
from reprocess.archive.frames import FrameBlock, FrameStatus, prepare
from reprocess.archive.inputs import Column, DayInputs, assign, read_day, reasons, tail_hash
from reprocess.archive.readers.reader import load_reader
from reprocess.campaign import Campaign
from reprocess.errors import UnreadableFrame
from reprocess.stores.layout import NOT_ACQUIRED_US, DayReader, DayWriter, chunk_slots
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Records, day_block


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


class StoredDay:
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


def join(blocks: list[FrameBlock]) -> FrameBlock:
    """One block of several, in order."""
    return FrameBlock(
        slot=np.concatenate([b.slot for b in blocks]),
        image=np.concatenate([b.image for b in blocks]),
        acquired=np.concatenate([b.acquired for b in blocks]),
        epoch=np.concatenate([b.epoch for b in blocks]),
    )


def latest(context: FrameBlock | None, block: FrameBlock, window_s: float) -> FrameBlock:
    """The frames that the next block may look back at: the last `window_s` before its first."""
    joined = block if context is None else join([context, block])
    oldest = block.acquired[-1] - np.timedelta64(round(window_s * 1e6), "us")
    keep = joined.acquired >= oldest
    return FrameBlock(
        joined.slot[keep], joined.image[keep], joined.acquired[keep], joined.epoch[keep]
    )


def one_ahead(
    items: Iterator[tuple[int, FrameBlock]], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, FrameBlock]]:
    """Yield items while the next one is being made in the pool."""
    following = pool.submit(next, items, None)
    while (item := following.result()) is not None:
        following = pool.submit(next, items, None)
        yield item
