"""What the scripts share that compare networks: their names, and where a page has its tables."""

from __future__ import annotations

from pathlib import Path

SHIPPED = "package:fcn_resnet18_sim.safetensors"
MARK = "<!-- table -->"


def network_name(weights: str) -> str:
    """The weights file without folders and ending."""
    return Path(weights.removeprefix("package:")).stem


def publish(text: str, page: Path | None) -> None:
    """Put `text` between the two marks of a page, or print it where there is no page."""
    if page is None:
        print(text)
        return
    start, _, rest = page.read_text(encoding="utf-8").partition(MARK)
    end = rest.partition(MARK)[2]
    page.write_text(f"{start}{MARK}\n\n{text}\n{MARK}{end}", encoding="utf-8")
