"""Metadata and coordinates of a hierarchy: written, kept as they were laid out, mended.

No block's record covers them; their digests are kept in `records/layout/`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import zarr

from reprocess.errors import LayoutDamaged, LockLost, StoreError
from reprocess.stores.ahead import ahead
from reprocess.stores.layout import YearLayout
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import (
    OVERWRITTEN,
    UNFINISHED,
    LayoutRecord,
    layout_key,
    layout_mark_key,
    mark_layout,
    read_layout,
    write_layout,
)
from reprocess.stores.zarrview import digest

READS_AHEAD = 8


def lay_out(
    objects: ObjectStore,
    layout: YearLayout,
    *,
    replace: bool = False,
    guard: Callable[[], None] = lambda: None,
) -> bool:
    """Write what a year store lacks or has otherwise; chunks of committed days are not touched.

    Parameters
    ----------
    replace : remove the chunks of arrays whose shape changed, instead of refusing;
        for a run that does every day of the year again
    guard : raises `LockLost` when another run has taken over; called before and after every write

    Returns
    -------
    bool
        Whether a mark lies on the year now: `finish_layout` takes it off, when every block that
        this layout is for has been made. Until then nothing else would tell that the year was laid
        out for a change that was begun by a run which died, and then taken back.

    Raises
    ------
    LockLost
        From `guard`. The last write may lie on the new holder's: a mark is left, so that the next
        run lays the year out again.
    StoreError
        If the store holds arrays of another shape or type under this path.

    Notes
    -----
    The digests of all it wrote are kept last, in `records/layout/`: no block's record covers
    metadata and coordinates. An object that is not as those digests say is damaged; it is written
    again, whatever shape it tells.
    """
    overwritten = layout_mark_key(layout.path, OVERWRITTEN)
    marked = objects.exists(overwritten)  # a mark that is left later tells of a later write
    with _marking(objects, layout.path):
        changed = _lay_out(objects, layout, replace, guard)
    if marked:
        guard()
        objects.delete(overwritten)
    return changed or objects.exists(layout_mark_key(layout.path, UNFINISHED))


def finish_layout(
    objects: ObjectStore, layout: YearLayout, guard: Callable[[], None] = lambda: None
) -> None:
    """Take the mark of `lay_out` off, after all that was to be made under the layout."""
    with _marking(objects, layout.path):
        guard()
        objects.delete(layout_mark_key(layout.path, UNFINISHED))
        guard()  # else nothing would tell that it was the new holder's mark


@contextlib.contextmanager
def _marking(objects: ObjectStore, path: str) -> Iterator[None]:
    try:
        yield
    except LockLost:
        mark_layout(objects, path, OVERWRITTEN)
        raise


def _lay_out(
    objects: ObjectStore, layout: YearLayout, replace: bool, guard: Callable[[], None]
) -> bool:
    """Whether anything had to be written; it was, under a mark."""
    wanted = layout.objects()
    recorded = _recorded(objects, layout.path)
    coordinates = {f"{layout.path}/{coordinate.name}" for coordinate in layout.coordinates}
    lacking: dict[str, bytes] = {}
    outgrown: list[str] = []

    def read(key: str) -> bytes | None:
        try:
            return objects.read(key)
        except (FileNotFoundError, ValueError):
            return None

    for key, present in ahead(read, wanted, READS_AHEAD):
        data = wanted[key]
        if present is None:
            lacking[key] = data
            continue
        if present == data:
            continue
        if recorded is not None and digest(present) != recorded.get(key) == digest(data):
            lacking[key] = data
            continue
        reshaped = _another_shape(key, present, data)
        array = key.removesuffix("/zarr.json")
        # A coordinate, such as one of each camera epoch, holds nothing of any day.
        if reshaped and not replace and array not in coordinates:
            raise StoreError(
                f"{objects.url}/{key}: found an array of {reshaped}; the image size, cadence or "
                f"cells changed under this store: run with --recompute frames, or give the "
                f"campaign a new store"
            )
        if reshaped:
            outgrown.append(f"{array}/c")
        lacking[key] = data
    # Only now, so that a refused layout leaves everything as it was.
    if not lacking and recorded == {key: digest(data) for key, data in wanted.items()}:
        return False
    guard()
    mark_layout(objects, layout.path, UNFINISHED)
    for chunks in outgrown:
        guard()
        objects.delete_tree(chunks)
        lacking |= {key: data for key, data in wanted.items() if key.startswith(f"{chunks}/")}
    write_objects(objects, layout.path, wanted, lacking, recorded, guard=guard)
    return True


def write_objects(
    objects: ObjectStore,
    path: str,
    wanted: Mapping[str, bytes],
    lacking: Mapping[str, bytes],
    recorded: Mapping[str, str] | None,
    *,
    bound: str = "",
    guard: Callable[[], None] = lambda: None,
) -> None:
    """Write the metadata and coordinates that a hierarchy lacks, and last what all of them are.

    Parameters
    ----------
    wanted, lacking : every object of the hierarchy by key, and those that are not there
    recorded : digests by key as they are recorded now, None if they are not
    """
    digests = {key: digest(data) for key, data in wanted.items()}
    if not lacking and recorded == digests:
        return
    if recorded is not None and recorded != digests:
        guard()
        objects.delete(layout_key(path))  # neither the old nor the new, until all is written
    for key, data in lacking.items():
        guard()
        objects.write(key, data)
    if recorded != digests:
        guard()
        write_layout(objects, LayoutRecord(path, digests, bound))
    guard()  # else nothing would tell that the last write came after another run's


def damaged_metadata(objects: ObjectStore, path: str) -> list[str]:
    """Keys of a hierarchy's metadata and coordinates that are not as they were laid out.

    Empty, too, where it is not recorded how they were.

    Raises
    ------
    StoreError
        If the record of them is itself damaged.
    """
    layout = read_layout(objects, path)
    if layout is None:
        return []
    damaged = []
    for key, wanted in sorted(layout.objects.items()):
        try:
            if digest(objects.read(key)) == wanted:
                continue
        except (FileNotFoundError, IsADirectoryError, ValueError):
            pass
        damaged.append(key)
    return damaged


def mend(
    objects: ObjectStore, layout: YearLayout, guard: Callable[[], None] = lambda: None
) -> list[str]:
    """Write damaged metadata and coordinates again, where the wanted bytes are those recorded.

    Returns
    -------
    list of str
        Keys that were written. What was laid out otherwise, by other settings or another
        version of a library, is left as it is; so is all where the record is damaged.
    """
    try:
        damaged = damaged_metadata(objects, layout.path)
    except StoreError:
        return []
    if not damaged:
        return []
    wanted, recorded = layout.objects(), metadata_digests(objects, layout.path)
    mended = [key for key in damaged if key in wanted and digest(wanted[key]) == recorded[key]]
    with _marking(objects, layout.path):
        for key in mended:
            guard()
            objects.write(key, wanted[key])
        guard()
    return mended


def forget_layout(objects: ObjectStore, path: str) -> None:
    """Take back what a hierarchy was laid out as, before its objects are removed."""
    objects.delete(layout_key(path))


def metadata_digests(objects: ObjectStore, path: str) -> dict[str, str]:
    """Digests of a hierarchy's metadata and coordinates; empty where they are not known.

    Raises
    ------
    LayoutDamaged
        If they were recorded and the record is damaged.
    """
    try:
        layout = read_layout(objects, path)
    except StoreError as error:
        raise LayoutDamaged(str(error)) from error
    return {} if layout is None else layout.objects


def _recorded(objects: ObjectStore, path: str) -> dict[str, str] | None:
    """As recorded; None where it is not, or is damaged: it is then written again."""
    try:
        layout = read_layout(objects, path)
    except StoreError:
        return None
    return None if layout is None else layout.objects


def _another_shape(key: str, present: bytes, wanted: bytes) -> str | None:
    """How two arrays' metadata differ in shape, type or chunks; None if they do not."""
    if not key.endswith("/zarr.json"):
        return None
    try:
        old = zarr.core.metadata.ArrayV3Metadata.from_dict(array_document(present))
        new = zarr.core.metadata.ArrayV3Metadata.from_dict(array_document(wanted))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # a group's metadata: attributes and the consolidated copy may change
    if (old.shape, old.dtype, old.chunk_grid) == (new.shape, new.dtype, new.chunk_grid):
        return None
    return f"shape {old.shape}, expected {new.shape}"


def array_document(data: bytes) -> dict[str, Any]:
    """An array's `zarr.json`; raises `ValueError` where it is none."""
    document = json.loads(data)
    if not isinstance(document, dict) or document.get("node_type") != "array":
        raise ValueError("not an array")
    return document
