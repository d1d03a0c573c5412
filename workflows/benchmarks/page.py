"""Fill the tables of docs/performance.md from workflows/benchmarks/results/*.json.

    python workflows/benchmarks/page.py

A table stands between `<!-- NAME -->` and `<!-- end -->`; the text around it is
written by hand. A benchmark that has no result says so.
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

from sidebyside import RESULTS

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
TABLE = re.compile(r"<!-- (?P<name>[a-z0-9_]+) -->\n.*?<!-- end -->", re.DOTALL)


def main() -> None:
    PAGE.write_text(TABLE.sub(lambda match: table(match["name"]), PAGE.read_text()))


def table(name: str) -> str:
    path = RESULTS / f"{name}.json"
    if not path.exists():
        body = "*Not measured.*"
    else:
        document = json.loads(path.read_text())
        lines = ["| what | ours | beside | ratio | to reach |", "|---|---|---|---|---|"]
        lines += [row_line(row) for row in document["rows"]]
        machine = document["machine"]
        body = "\n".join(lines) + (
            f"\n\n*{document['date']}, {machine['processor']}, {machine['cores']} cores, "
            f"load before {machine['load_1min']:.1f}. Medians; raw numbers in "
            f"[{name}.json](../workflows/benchmarks/results/{name}.json).*"
        )
    return f"<!-- {name} -->\n{body}\n<!-- end -->"


def row_line(row: dict[str, Any]) -> str:
    if "same" in row:
        ours, theirs = row["ours"], row["theirs"]
        return (
            f"| {row['what']} | {ours['name']}: {ours['median']:.4g} {row['unit']} | "
            f"{theirs['name']}: {theirs['median']:.4g} {row['unit']} | {row['ratio']:.3g} | "
            f"{row['target']} |"
        )
    note = f" ({row['note']})" if row["note"] else ""
    value = f"{row['median']:.4g} {row['unit']}".strip()
    if row["unit"] == "ratio":
        sides = (f"{statistics.median(row[s]):.4g}" if s in row else "" for s in ("ours", "theirs"))
        return (
            f"| {row['what']}{note} | {' | '.join(sides)} | {row['median']:.3g} | {row['target']} |"
        )
    return f"| {row['what']}{note} | {value} | | | {row['target']} |"


if __name__ == "__main__":
    main()
