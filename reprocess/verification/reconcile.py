"""The ledger of a store against the archive as it is now: every frame is accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from reprocess import stages
from reprocess.archive.catalogue import scan
from reprocess.archive.files import local_root
from reprocess.archive.headers import HeaderTimes
from reprocess.archive.inputs import DayInputs
from reprocess.campaign import Campaign, StoreAccess, campaign_from_mapping
from reprocess.errors import ConfigurationError, ReprocessError, StoreError
from reprocess.request import differences
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import HALF, Records, half_digest, only_fingerprint, record_key
from reprocess.stores.sealed import unseal
from reprocess.verification.findings import Verification


def refuse_another_campaign(objects: ObjectStore, campaign: Campaign) -> None:
    """Refuse a campaign that is not the store's; a store without records has none.

    Raises
    ------
    ConfigurationError
        Naming what differs from what frames and labels are bound to, or from the last run's name.
    """
    wanted = {"frames": stages.frames_settings(campaign)}
    wanted |= {label: stages.evidence_settings(campaign, label) for label in campaign.detectors}
    found: list[str] = []
    for name, settings in wanted.items():
        try:
            bound = Records(objects).read_settings(name)
        except StoreError:
            continue  # damaged: a finding
        if bound is not None:
            found += differences(bound, json.loads(json.dumps(settings)), name)
    last = last_campaign(objects)
    if last is not None and last.name != campaign.name:
        found.append(f"name: found {campaign.name}, that of the last run {last.name}")
    if found:
        raise ConfigurationError(
            f"{objects.url}: is not of this campaign ({'; '.join(found)}); expected the campaign "
            f"that the store was made with"
        )


def reconcile(
    verification: Verification,
    campaign: Campaign | None = None,
    access: StoreAccess | None = None,
    *,
    of_repair: bool = False,
) -> None:
    """Compare the frames that a store accounts for with those that its archive holds.

    Parameters
    ----------
    verification : of the store; what is found is added to it. Only its years are looked at.
    campaign : default that of the store's last run, and then only if its archive is a directory:
        nothing on the network is opened because a store says so
    access : how an S3 service that keeps the store is reached; default as the campaign says
    of_repair : an archive that holds nothing of the store is told and not refused: a repair says
        itself what it cannot make again, and detections need no archive

    Raises
    ------
    ConfigurationError
        If the given campaign's archive holds none of the frames that the store accounts for.

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
    known = held = 0
    for year in verification.years:
        try:
            counts = _check_archive(verification, objects, campaign, year)
        except (ReprocessError, OSError) as error:
            verification.not_checked.append(f"the archive: {error}")
            return
        known, held = known + counts[0], held + counts[1]
    if given and known and not held and not of_repair:
        raise ConfigurationError(
            f"archive {campaign.archive.url}: found none of the {known} frames that "
            f"{verification.store} accounts for; expected the archive that the store was made of. "
            f"Check --campaign, archive.url and the mount"
        )


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
) -> tuple[int, int]:
    """Compare a year; returns how many frames the ledger lists and how many of them are there."""
    known = held = 0
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
        known, held = known + len(listed), held + len(there.intersection(listed))
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
    return known, held


def _told(title: str, days: dict[str, str]) -> Iterable[str]:
    if not days:
        return []
    listed = "; ".join(f"{day}: {text}" for day, text in sorted(days.items())[:3])
    more = f" and {len(days) - 3} days more" if len(days) > 3 else ""
    return [f"{title}: {listed}{more}. Run the campaign to bring the store up to date"]
