"""A Zarr store over an `ObjectStore`, knowing the digest of every object that passes.

Writing, it remembers the SHA-256 of what it stored, for the block's record.
Reading, it refuses an object whose digest is not the one that the record
holds, so that a flipped bit is an error that names the key and never a count.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from reprocess.errors import LayoutDamaged, StoreError
from reprocess.stores.objects import ObjectStore


def digest(data: bytes) -> str:
    """SHA-256 of an object as it is stored, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class ZarrView(Store):
    """One Zarr hierarchy at `path` below an object store.

    Parameters
    ----------
    objects : where the objects are
    path : prefix of the hierarchy, such as `frames/2021.zarr`
    expected : digests by key (relative to the object store); a chunk that is read and is not
        in it must be absent. None reads without checking.
    metadata : digests by key of `zarr.json` objects; one that is not in it is not checked
    """

    def __init__(
        self,
        objects: ObjectStore,
        path: str,
        expected: Mapping[str, str] | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        read_only: bool = False,
    ) -> None:
        super().__init__(read_only=read_only)
        self.metadata = metadata or {}
        self.objects = objects
        self.path = path
        self.expected = expected
        self.written: dict[str, str] = {}

    def with_read_only(self, read_only: bool = False) -> ZarrView:
        return ZarrView(
            self.objects, self.path, self.expected, metadata=self.metadata, read_only=read_only
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ZarrView)
            and self.path == other.path
            and self.objects.url == other.objects.url
        )

    def __str__(self) -> str:
        return f"{self.objects.url}/{self.path}"

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        try:
            data = await asyncio.to_thread(self.objects.read, self._key(key))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            data = None
        if key.endswith("zarr.json"):
            self._check_metadata(self._key(key), data)
        elif self.expected is not None:
            self._check(self._key(key), data)
        if data is None:
            return None
        return prototype.buffer.from_bytes(_cut(data, byte_range))

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self.objects.exists, self._key(key))

    @property
    def supports_writes(self) -> bool:
        return True

    @property
    def supports_deletes(self) -> bool:
        return True

    @property
    def supports_listing(self) -> bool:
        return True

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        data = value.to_bytes()
        await asyncio.to_thread(self.objects.write, self._key(key), data)
        self.written[self._key(key)] = digest(data)

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self.remove, key)

    def remove(self, key: str) -> None:
        """Delete an object, if it is there."""
        self._check_writable()
        self.objects.delete(self._key(key))
        self.written.pop(self._key(key), None)

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in await self._below(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in sorted({k[len(prefix) :].split("/")[0] for k in await self._below(prefix)}):
            yield name

    async def _below(self, prefix: str) -> Iterable[str]:
        cut = len(self.path) + 1
        keys = await asyncio.to_thread(lambda: list(self.objects.keys(self.path)))
        return [key[cut:] for key in keys if key[cut:].startswith(prefix)]

    def _key(self, key: str) -> str:
        return f"{self.path}/{key}"

    def _check_metadata(self, key: str, data: bytes | None) -> None:
        wanted = self.metadata.get(key)
        if wanted is not None and (data is None or digest(data) != wanted):
            raise LayoutDamaged(
                f"{self.objects.url}/{key}: {'is gone' if data is None else 'has changed'} since "
                f"it was laid out, so what it describes cannot be trusted; run "
                f"`reprocess verify STORE --repair CAMPAIGN`"
            )

    def _check(self, key: str, data: bytes | None) -> None:
        assert self.expected is not None
        wanted = self.expected.get(key)
        found = None if data is None else digest(data)
        if found != wanted:
            raise StoreError(
                f"{self.objects.url}/{key}: found "
                f"{'no object' if found is None else f'content {found[:12]}…'}, the record expects "
                f"{'no object' if wanted is None else f'{wanted[:12]}…'}; the block is stale and "
                f"the next run does it again"
            )


def _cut(data: bytes, part: ByteRequest | None) -> bytes:
    if part is None:
        return data
    if isinstance(part, RangeByteRequest):
        return data[part.start : part.end]
    if isinstance(part, OffsetByteRequest):
        return data[part.offset :]
    if isinstance(part, SuffixByteRequest):
        return data[-part.suffix :]
    raise TypeError(f"byte request {part!r}")
