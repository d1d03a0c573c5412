"""What a run is asked to do, and whether its store allows it."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from reprocess import stages
from reprocess.campaign import Campaign
from reprocess.errors import ConfigurationError, StoreError
from reprocess.stores.records import HALF, MARKS, Listing, Records

STAGE_NAMES = ("frames", "evidence", "detections", "cube", "all")


@dataclass(frozen=True)
class Request:
    """What the command line asks for, beside the campaign.

    Attributes
    ----------
    years : whose archive is looked at; others only have derived stages redone
    days : only these are done, for a repair; all others stay as they are committed
    gone : years whose frames left the archive for good; what was made of them is erased
    """

    years: tuple[int, ...]
    labels: tuple[str, ...]
    cluster: str = "local"
    dry_run: bool = False
    recompute: tuple[str, ...] = ()
    days: frozenset[date] | None = None
    gone: tuple[int, ...] = ()


def recomputed(request: Request) -> tuple[str, ...]:
    """What is done again, `all` spelled out: everything follows from the frames."""
    asked = set(request.recompute)
    return tuple(asked | {"frames"} if "all" in asked else asked)


def check_settings(
    campaign: Campaign, request: Request, records: Records, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Settings to bind to the store; refuses those that contradict what is bound to it.

    Bound settings that are damaged, as a write that was cut off leaves them, are bound again if
    every committed block was made with the campaign's; `say` is told.

    Raises
    ------
    ConfigurationError
        If the campaign's settings are others than those bound.
    StoreError
        If bound settings are damaged, and a committed block was made with other ones.
    """
    unknown = set(request.labels) - set(campaign.detectors)
    if unknown:
        raise ConfigurationError(
            f"--detectors {', '.join(sorted(unknown))}: not in this campaign; expected some of "
            f"{', '.join(campaign.detectors)}"
        )
    known = {*STAGE_NAMES, *campaign.detectors}
    for what in request.recompute:
        if what not in known:
            raise ConfigurationError(
                f"--recompute {what}: found no such stage or label; expected one of "
                f"{', '.join(sorted(known))}"
            )
    wanted = {"frames": stages.frames_settings(campaign)}
    wanted |= {label: stages.evidence_settings(campaign, label) for label in request.labels}
    again = set(recomputed(request))
    changed = {}
    for name, settings in wanted.items():
        plain = json.loads(json.dumps(settings))
        allowed = {"frames"} if name == "frames" else {"frames", "evidence", name}
        try:
            bound = records.read_settings(name)
        except StoreError:
            if again.isdisjoint(allowed) and not _made_with(campaign, name, records.list()):
                raise
            say(f"settings of {name} were damaged: written again, as the campaign has them")
            bound = None
        if bound == plain:
            continue
        changed[name] = plain
        if bound is not None and again.isdisjoint(allowed):
            differing = "; ".join(differences(bound, plain))
            way_out = (
                "--recompute frames, or another store"
                if name == "frames"
                else f"a new label beside it (such as {name}-v2), or --recompute {name}"
            )
            raise ConfigurationError(
                f"{campaign.store}: {name} was made with other settings ({differing}); "
                f"one store must not mix them: use {way_out}"
            )
    return changed


def check_thresholds(campaign: Campaign, request: Request) -> None:
    """Refuse a detector whose threshold cannot be had for a camera epoch of the years asked for.

    Its evidence would be made at full cost, and every day of it would fail.

    Raises
    ------
    ConfigurationError
    """
    epochs = sorted({i for year in request.years for i in stages.epochs_in(campaign, year)})
    for label in request.labels:
        detector = stages.detector_of(campaign, label)
        for index in epochs:
            try:
                detector.detection_settings(campaign.camera[index])
            except ConfigurationError as error:
                raise ConfigurationError(f"camera.{index}: {error}") from error


def _made_with(campaign: Campaign, name: str, listing: Listing) -> bool:
    """Tell whether all that is committed of the frames or a label has the campaign's settings."""
    for block, found in listing.items():
        if name not in (block.stage, block.label) or block.stage not in ("frames", "evidence"):
            continue
        day = date.fromisoformat(block.day)
        wanted = (
            stages.frames_fingerprint(campaign, day, "")[HALF:]
            if block.stage == "frames"
            else stages.evidence_settings_half(campaign, name, day)
        )
        if any(f[HALF:] != wanted for f in found if f not in MARKS):
            return False
    return True


def differences(old: Any, new: Any, key: str = "") -> Iterable[str]:
    """Name every value in which two documents differ: `lens.north_deg: found 300, committed 311`.

    Parameters
    ----------
    old, new : mappings of mappings and plain values; `old` is what is committed
    key : name of the section that both are
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            inner = f"{key}.{name}" if key else name
            yield from differences(old.get(name), new.get(name), inner)
    elif old != new:
        yield f"{key}: found {new}, committed {old}"


def open_port_warning(cluster: str) -> str | None:
    """What to say of a scheduler whose port lets strangers run code; None where all is well."""
    scheme, _, rest = cluster.partition("://")
    if scheme not in ("tcp", "ws", "ucx"):
        return None
    host = rest.rpartition(":")[0].strip("[]")
    try:
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return None
    except ValueError:
        pass  # a name that may lead anywhere
    return (
        f"{cluster}: not encrypted, and open to whoever reaches the port: anyone on that network "
        f"can run code as you. Use a tls:// scheduler, or a network that only you are on"
    )


def year_ranges(years: Sequence[int]) -> str:
    """`2018-2020, 2023` from sorted or unsorted years."""
    runs: list[list[int]] = []
    for year in sorted(years):
        if runs and runs[-1][-1] == year - 1:
            runs[-1].append(year)
        else:
            runs.append([year])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
