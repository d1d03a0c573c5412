"""What a verification found, for people and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from reprocess.stores.records import Block

KINDS = {
    "damaged": "objects whose bytes are not those of their record",
    "missing": "objects that their record names and that are not there",
    "record": "records that cannot be believed",
    "metadata": "metadata and coordinates that are not as they were laid out",
    "settings": "settings that the store is bound to, damaged or missing",
    "stray": "objects that no record covers",
    "unfinished": "blocks that a run began and did not end",
    "count": "numbers of the cube that the detections do not give",
    "ledger": "ledgers that do not add up",
    "failed": "days whose last run failed",
    "beside": "damaged objects beside the result",
}
LISTED_MAX = 20


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the store's records say.

    Attributes
    ----------
    kind : one of `KINDS`
    where : the block (stage, label, day) or the hierarchy (stage, label, year), as text
    block : the block; None where no single one is concerned
    """

    kind: str
    key: str
    where: str
    text: str
    block: Block | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.text}"


@dataclass
class Verification:
    """What was checked, what was found, and what could not be checked.

    Attributes
    ----------
    notes : what a reader should know and what is not wrong
    not_checked : what was left out, and why
    checked : how many records, objects, bytes, hierarchies, cube-years
    """

    store: str
    years: tuple[int, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def add(
        self, kind: str, key: str, where: Block | str, text: str, block: Block | None = None
    ) -> None:
        """Keep a finding; `where` given as a block is the block."""
        mine = where if isinstance(where, Block) else block
        self.findings.append(Finding(kind, key, str(where), text, mine))

    def text(self) -> str:
        """What a person reads: how much was checked, every kind of finding, what was left out."""
        checked = self.checked
        lines = [
            f"{self.store}: {checked['objects']} objects ({checked['bytes'] / 1e6:.1f} MB), "
            f"{checked['records']} records, {checked['hierarchies']} Zarr stores, "
            f"{checked['cube-years recounted']} cube-years counted again"
        ]
        if checked["archive frames"]:
            lines[0] += f", {checked['archive frames']} frames of the archive"
        for kind, meaning in KINDS.items():
            mine = [finding for finding in self.findings if finding.kind == kind]
            if mine:
                lines.append(f"\n{meaning}: {len(mine)}")
                lines += [f"  {finding}" for finding in mine[:LISTED_MAX]]
            if len(mine) > LISTED_MAX:
                lines.append(f"  … and {len(mine) - LISTED_MAX} more (--json lists all)")
        lines += [f"\nnot checked: {text}" for text in self.not_checked]
        lines += [f"\nnote: {text}" for text in self.notes]
        verdict = "nothing wrong was found" if self.sound else f"{len(self.findings)} findings"
        return "\n".join([*lines, f"\n{verdict}"])

    def document(self) -> dict[str, Any]:
        """The same for programs; the keys are in docs/reliability.md."""
        return {
            "store": self.store,
            "years": list(self.years),
            "sound": self.sound,
            "checked": dict(sorted(self.checked.items())),
            "findings": [
                {
                    "kind": finding.kind,
                    "where": finding.where,
                    "stage": finding.block.stage if finding.block else None,
                    "label": finding.block.label if finding.block else None,
                    "day": finding.block.day if finding.block else None,
                    "key": finding.key,
                    "problem": finding.text,
                }
                for finding in self.findings
            ],
            "not_checked": self.not_checked,
            "notes": self.notes,
        }
