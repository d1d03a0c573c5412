"""Aurora occurrence from multi-year all-sky camera archives.

`open_cube` and `count_occurrence` are the library's two doors; everything
else is reached through the command line or its module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reprocess.cube.groups import count_occurrence
    from reprocess.cube.open import open_cube

__version__ = "0.1.0"
__all__ = ["__version__", "count_occurrence", "open_cube"]


def __getattr__(name: str) -> Any:
    # Lazy: importing the package must not import xarray and zarr in every worker and CLI call.
    if name == "open_cube":
        from reprocess.cube.open import open_cube

        return open_cube
    if name == "count_occurrence":
        from reprocess.cube.groups import count_occurrence

        return count_occurrence
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
