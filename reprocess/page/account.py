"""What became of each detector's frames, before any is counted.

Read from the records of its days. A year's sums are kept in the store under
`runs/accounts`, named by what they are sums of, so that a page reads no
record of a year that did not change.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from reprocess.detectors.detector import EvidenceStatus
from reprocess.errors import ReprocessError, StoreError
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Block, Listing, Records, half_digest, only_fingerprint
from reprocess.stores.sealed import seal, unseal

ACCOUNTS = "runs/accounts"
READ_AT_ONCE = 16
"""Records read at a time: on S3 each costs a request."""


@dataclass(frozen=True)
class Account:
    """What became of one detector's frames, over all committed days.

    Attributes
    ----------
    by_status : frames by `EvidenceStatus`, in lower case; each frame in one of them
    """

    label: str
    by_status: Mapping[str, int]

    @property
    def ok(self) -> int:
        """Frames that could be decoded."""
        return sum(self.by_status.values()) - self.by_status.get("unreadable", 0)

    @property
    def observed(self) -> int:
        """Frames that have all that the detector needs."""
        return self.by_status.get("observed", 0)


def read_accounts(
    objects: ObjectStore, listing: Listing, labels: Iterable[str]
) -> tuple[tuple[Account, ...], tuple[str, ...]]:
    """Sum up what the records of committed detections say.

    Parameters
    ----------
    listing : of all records
    labels : detectors, in the order of the result

    Returns
    -------
    accounts : of the labels that have a committed day
    problems : records that could not be read; their days are in no account
    """
    records = Records(objects)
    found, problems = [], []
    for label in labels:
        years: dict[int, list[tuple[Block, str]]] = {}
        for block, fingerprints in sorted(listing.items()):
            fingerprint = only_fingerprint(fingerprints)
            if (block.stage, block.label) == ("detections", label) and fingerprint is not None:
                years.setdefault(block.year, []).append((block, fingerprint))
        total: Counter[str] = Counter()
        for year, blocks in years.items():
            frames, unread = _year(objects, records, f"{ACCOUNTS}/{label}-{year:04d}.json", blocks)
            total.update(frames)
            problems += unread
        if years:
            found.append(Account(label, total))
    return tuple(found), tuple(problems)


def lost(accounts: Iterable[Account]) -> list[str]:
    """Reasons for which a decoded frame was not observed, of those that occur."""
    reasons = [status.name.lower() for status in EvidenceStatus]
    reasons = [name for name in reasons if name not in ("no_frame", "observed", "unreadable")]
    known = list(accounts)
    return [name for name in reasons if any(one.by_status.get(name) for one in known)]


def _year(
    objects: ObjectStore, records: Records, key: str, blocks: list[tuple[Block, str]]
) -> tuple[dict[str, int], list[str]]:
    """Frames by status of a label's year, and what could not be read."""
    digest = half_digest([[*block, fingerprint] for block, fingerprint in blocks])
    # What is kept may be missing, damaged, or of other blocks: then the records are read.
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        kept = unseal(objects.read(key))
        if kept["of"] == digest:
            return {str(name): int(n) for name, n in kept["frames_by_status"].items()}, []
    total: Counter[str] = Counter()
    problems = []

    def read(one: tuple[Block, str]) -> Mapping[str, int] | str:
        try:
            frames: Mapping[str, int] = records.read(*one).facts["frames_by_status"]
        except (StoreError, KeyError) as error:
            return f"record of {one[0]}: {error}"
        return frames

    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        for found in pool.map(read, blocks):
            if isinstance(found, str):
                problems.append(found)
            else:
                total.update(found)
    if not problems:
        with contextlib.suppress(OSError, ReprocessError):  # it can still be read
            objects.write(key, seal({"of": digest, "frames_by_status": dict(total)}))
    return dict(total), problems
