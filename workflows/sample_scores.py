"""Networks side by side on the labelled sample campaign: every table of `reprocess evaluate`.

    python workflows/sample_scores.py SCRATCH --weights A.safetensors B.safetensors
        --out docs/evaluation.md

makes the sample campaign and its labels in SCRATCH unless they are there, evaluates each network
on all of it with the campaign's cells and difference detector, and writes one page of tables. A
network scored on its own simulator flatters itself; the page says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from network_pages import SHIPPED, network_name, publish

from reprocess import cli
from reprocess.campaign import load_campaign
from reprocess.evaluate.evaluate import Choice, Evaluation, evaluate
from reprocess.evaluate.tables import NETWORK
from reprocess.evaluate.text import Table, as_markdown, tables_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the sample, evaluate, and write or print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scratch", metavar="SCRATCH", type=Path, help="folder for the sample")
    parser.add_argument("--weights", nargs="+", default=[SHIPPED], help="default the shipped ones")
    parser.add_argument("--out", type=Path, help="page whose tables are replaced, else printed")
    options = parser.parse_args(arguments)
    sample, labels = options.scratch / "sample", options.scratch / "labels"
    if not sample.is_dir():
        _must(cli.main(["sample", str(sample)]))
    if not labels.is_dir():
        _must(cli.main(["labels", "sample", str(sample), str(labels)]))
    campaign = load_campaign(sample / "sample.yaml")
    found = {
        network_name(weights): evaluate(Choice(weights, labels, campaign=campaign))
        for weights in options.weights
    }
    publish(page(found), options.out)
    return 0


def page(found: dict[str, Evaluation]) -> str:
    """All tables of several networks on the same images, as Markdown."""
    first = next(iter(found.values()))
    facts = first.facts["data"]
    lines = [
        f"{facts['images']} images of {facts['days']} UTC days, digest `{facts['sha256'][:16]}…`.",
        *(
            f"`{name}`: {one.facts['weights']['architecture']}, SHA-256 "
            f"`{one.facts['weights']['sha256'][:16]}…`."
            for name, one in found.items()
        ),
        "",
    ]
    lines += [line for caution in first.cautions for line in (f"> {caution}", "")]
    for same in zip(*map(tables_of, found.values()), strict=True):
        lines += [
            "### " + same[0].title,
            "",
            as_markdown(beside(dict(zip(found, same, strict=True)))),
            "",
        ]
    return "\n".join(lines)


def beside(tables: dict[str, Table]) -> Table:
    """One table of one for each network: what does not depend on the network stands once."""
    first = next(iter(tables.values()))
    notes = {name: table.note for name, table in tables.items()}
    if len(set(notes.values())) > 1:
        first = replace(first, note=" ".join(f"`{name}`: {note}" for name, note in notes.items()))
    if NETWORK in first.head:
        # A column of the network's own among columns that all share.
        at = first.head.index(NETWORK)
        rows = tuple(
            (*same[0][:at], *(row[at] for row in same), *same[0][at + 1 :])
            for same in zip(*(t.rows for t in tables.values()), strict=True)
        )
        head = (*first.head[:at], *tables, *first.head[at + 1 :])
        return replace(first, head=head, rows=rows)
    named = {
        name: [tuple(name if cell == NETWORK else cell for cell in row) for row in table.rows]
        for name, table in tables.items()
    }
    if any(NETWORK in row for row in first.rows):
        # A row of the network's own among rows that all share.
        rows = tuple(
            row for same in zip(*named.values(), strict=True) for row in dict.fromkeys(same)
        )
        return replace(first, rows=rows)
    rows = tuple((name, *row) for name, listed in named.items() for row in listed)
    return replace(first, head=("network", *first.head), rows=rows, left=first.left + 1)


def _must(code: int) -> None:
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    raise SystemExit(main())
