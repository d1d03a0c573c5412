"""The ledger of a store against the archive as it is now: every frame is accounted for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from reprocess.archive.catalogue import scan
from reprocess.archive.files import local_root
from reprocess.archive.headers import HeaderTimes
from reprocess.archive.inputs import DayInputs
from reprocess.campaign import Campaign, StoreAccess, campaign_from_mapping
from reprocess.errors import ReprocessError, StoreError
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import HALF, Records, half_digest, only_fingerprint, record_key
from reprocess.stores.sealed import unseal
from reprocess.verification.findings import Verification


def reconcile(
    verification: Verification,
    campaign: Campaign | None = None,
    access: StoreAccess | None = None,
) -> None:
    """Compare the frames that a store accounts for with those that its archive holds.

    Parameters
    ----------
    verification : of the store; what is found is added to it. Only its years are looked at.
    campaign : default that of the store's last run, and then only if its archive is a directory:
        nothing on the network is opened because a store says so
    access : how an S3 service that keeps the store is reached; default as the campaign says

    Notes
    -----
    Only names are compared with the archive, one year at a time: `reprocess run --dry-run` tells
    of changed contents. What the archive has more or less than the ledger is told as a note, since
    an archive may grow; a ledger that its own record contradicts is a finding.
    """
    if access is None and campaign is not None:
        access = campaign.store_access
    objects = open_objects(verification.store, access)
    given = campaign is not None
    campaign = campaign or last_campaign(objects)
    if campaign is None:
        verification.not_checked.append(
            "the archive: the store does not tell its campaign (no run is kept under runs/); "
            "give --campaign"
        )
        return
    if not given and local_root(campaign.archive) is None:
        verification.not_checked.append(
            f"the archive {campaign.archive.url}: it is not on this machine; give --campaign to "
            f"have it listed"
        )
        return
    for year in verification.years:
        try:
            _check_archive(verification, objects, campaign, year)
        except (ReprocessError, OSError) as error:
            verification.not_checked.append(f"the archive: {error}")
            return


def last_campaign(objects: ObjectStore) -> Campaign | None:
    """The campaign of the last run that a store keeps and that can be read; None without one."""
    keys = [k for k in objects.keys("runs") if k.endswith("/run.json")]
    for key in sorted(keys, reverse=True):
        try:
            return campaign_from_mapping(unseal(objects.read(key), required=False)["campaign"])
        except (ValueError, KeyError, TypeError, FileNotFoundError, ReprocessError):
            continue
    return None


def _check_archive(
    verification: Verification, objects: ObjectStore, campaign: Campaign, year: int
) -> None:
    headers = HeaderTimes(campaign.archive, objects)
    catalogue = scan(campaign.archive, [year], campaign.camera, headers)
    days = {d.isoformat(): e for d, e in catalogue.days.items() if d.year == year}
    records = Records(objects)
    seen: set[str] = set()
    changed: dict[str, str] = {}
    for block, found in sorted(records.list([year]).items()):
        fingerprint = only_fingerprint(found)
        if block.stage != "frames" or fingerprint is None:
            continue
        seen.add(block.day)
        try:
            rows = records.read(block, fingerprint).facts["frames"]
        except StoreError:
            continue
        entries = days.get(block.day, [])
        listed = [str(row[0]) for row in rows]
        there = {entry.name for entry in entries}
        if listed == [entry.name for entry in entries]:
            kept = DayInputs(entries, [row[1] for row in rows], np.zeros(len(rows), bool))
            if half_digest(kept.hash()) != fingerprint[:HALF]:
                verification.add(
                    "ledger", record_key(block, fingerprint), block,
                    "the names, times and digests that it lists are not those of its fingerprint",
                )  # fmt: skip
        else:
            mine = set(listed)
            more, less = len(there - mine), len(mine - there)
            changed[block.day] = f"{more} frames more, {less} fewer"
    verification.checked["archive frames"] += sum(len(entries) for entries in days.values())
    verification.notes += _told("the archive is not as the ledger says", changed)
    new = {day: f"{len(entries)} frames" for day, entries in days.items() if day not in seen}
    verification.notes += _told("days of the archive that are not committed", new)


def _told(title: str, days: dict[str, str]) -> Iterable[str]:
    if not days:
        return []
    listed = "; ".join(f"{day}: {text}" for day, text in sorted(days.items())[:3])
    more = f" and {len(days) - 3} days more" if len(days) > 3 else ""
    return [f"{title}: {listed}{more}. Run the campaign to bring the store up to date"]
