"""What is told of a run before it begins: that it finds no frame."""

from __future__ import annotations

from reprocess.archive.catalogue import Catalogue
from reprocess.campaign import Campaign
from reprocess.errors import ConfigurationError
from reprocess.request import Request, year_ranges
from reprocess.stores.records import Listing

EXAMPLES_MAX = 3
"""Files that are no frames which an error names; a run lists more."""


def without_frames(
    campaign: Campaign, request: Request, catalogue: Catalogue, listing: Listing
) -> str | None:
    """What to say of years for which the archive holds no frame; None if it holds some.

    Raises
    ------
    ConfigurationError
        If nothing is committed yet: so far nothing says that the archive is the right one.
    """
    days = catalogue.days.items()
    if not request.years or any(entries and day.year in request.years for day, entries in days):
        return None
    among = ", nor any file (directories of other years are not looked at)"
    if catalogue.n_files:
        ignored = catalogue.ignored
        among = f" among {catalogue.n_files} files"
        if ignored:
            examples = "; ".join(f"{name!r}: {reason}" for name, reason in ignored[:EXAMPLES_MAX])
            among += f", of which {len(ignored)} are no frames of any year, such as {examples}"
    found = (
        f"archive {campaign.archive.url}: found no frames of {year_ranges(request.years)}{among}"
    )
    if request.days is None and not any(block.stage == "frames" for block in listing):
        raise ConfigurationError(
            f"{found}; expected some on a first run. Correct archive.url, archive.pattern "
            f"({campaign.archive.pattern}) or the years"
        )
    return found
