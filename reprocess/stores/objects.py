"""Objects under one URL: the only door through which anything is stored.

Records, locks and every Zarr chunk go through the seven methods of
`ObjectStore`, so durability, exclusive creation and listing mean one thing
on a disk and on S3, and a test that makes a write fail makes every write
fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import fsspec

from reprocess.campaign import StoreAccess, store_access
from reprocess.credentials import WHERE_SECRETS_BELONG, holds_secret, redacted
from reprocess.errors import ConfigurationError, StoreError
from reprocess.stores.s3 import AlreadyThere, S3Bucket, is_s3

SCRATCH = "runs/tmp"
"""Where unfinished writes live: outside every key that two equal runs must agree on."""

DOCUMENT_BYTES_MAX = 1 << 28
"""Size of the largest record: a day of one frame a second needs a twentieth of it."""

DELETES_AT_ONCE = 8

NO_PLACE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS})
"""Why a store's directory cannot be made, if it lies where none can be."""

PLACE_ATTEMPTS = 100
"""Times a directory is made again that a neighbour's delete pruned before the file was in it."""


class ObjectStore(Protocol):
    """Named byte strings; keys are relative, `/`-separated."""

    url: str

    def read(self, key: str) -> bytes:
        """Return the object; raises `FileNotFoundError` where there is none."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Replace the object whole; on return it survives a power loss."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Create the object; False, and nothing written, where it exists."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens where there is none."""
        ...

    def delete_tree(self, prefix: str) -> None:
        """Remove every object below `prefix`."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether the object is there."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """List the keys below `prefix` (a directory), in no particular order."""
        ...


def open_objects(url: str, access: StoreAccess | Mapping[str, Any] | None = None) -> ObjectStore:
    """Open the object store at a URL or a local path.

    Parameters
    ----------
    access : how an S3 service is reached, such as {"profile": "polar"}, with the keys of a
        campaign's `store_access`; None: as AWS's files and environment say

    Raises
    ------
    ConfigurationError
        If no file system serves the URL's protocol, the URL holds a secret, or `access` has
        a key that is not known.
    """
    if holds_secret(url):
        raise ConfigurationError(
            f"store {redacted(url)}: expected a URL without credentials: {WHERE_SECRETS_BELONG}"
        )
    if isinstance(access, Mapping):
        access = store_access(access)
    if is_s3(url):
        return S3Objects(url, access)
    if "://" not in url or url.startswith("file://"):
        objects = LocalObjects(url.removeprefix("file://"))
        if objects.root.exists() and not objects.root.is_dir():
            raise ConfigurationError(f"store {url}: found a file, expected a directory or a URL")
        return objects
    try:
        return FsspecObjects(url)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(
            f"store {url}: {error}; expected a directory or a URL whose protocol fsspec knows"
        ) from error


def _checked(key: str) -> str:
    path = PurePosixPath(key)
    if not key or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"object key {key!r}: expected a relative path without '..'")
    return key


class LocalObjects:
    """Objects as files below a directory, each write synced and renamed into place."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()
        self.url = str(self.root)
        try:
            self.url.encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"store {self.url!r}: expected a name in UTF-8, since pages and records name it: "
                f"rename it"
            ) from error

    def read(self, key: str) -> bytes:
        path = self._path(key)
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, a device never ends
            raise FileNotFoundError(errno.ENOENT, "is no plain file", str(path))
        if found.st_size > DOCUMENT_BYTES_MAX and key.endswith(".json"):
            raise ValueError(
                f"{path}: found {found.st_size} bytes, expected at most {DOCUMENT_BYTES_MAX}"
            )
        return path.read_bytes()

    def write(self, key: str, data: bytes) -> None:
        path = self._inside(key)
        with _naming(path):
            scratch = self._scratch(data)
            try:
                self._into_place(path, lambda: scratch.replace(path))
            except OSError:
                scratch.unlink(missing_ok=True)
                raise
            _sync_directory(path.parent)

    def create(self, key: str, data: bytes) -> bool:
        path = self._inside(key)
        with _naming(path):
            return self._create(path, data)

    def _create(self, path: Path, data: bytes) -> bool:
        scratch = self._scratch(data)
        try:
            self._into_place(path, lambda: os.link(scratch, path))
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            return self._create_without_links(path, data)
        finally:
            scratch.unlink(missing_ok=True)
        _sync_directory(path.parent)
        return True

    def delete(self, key: str) -> None:
        path = self._inside(key)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        _sync_directory(path.parent)
        self._prune(path.parent)

    def delete_tree(self, prefix: str) -> None:
        for key in list(self.keys(prefix)):
            self.delete(key)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def keys(self, prefix: str) -> Iterator[str]:
        pending = [str(self._path(prefix)) if prefix else self.url]
        cut = len(self.url) + 1
        while pending:
            with contextlib.suppress(FileNotFoundError), os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_symlink() and entry.is_dir():
                        raise _linked(entry.path)
                    else:
                        yield entry.path[cut:].replace(os.sep, "/")

    def _path(self, key: str) -> Path:
        return self.root / _checked(key)

    def _inside(self, key: str) -> Path:
        """The path of an object that is about to change: really below the root, links and all."""
        path = self._path(key)
        if os.path.realpath(path.parent) != str(path.parent):
            raise _linked(path.parent)
        return path

    def _scratch(self, data: bytes) -> Path:
        self._make_root()
        directory = self.root / SCRATCH
        directory.mkdir(parents=True, exist_ok=True)
        scratch = directory / uuid.uuid4().hex
        try:
            with scratch.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
        return scratch

    def _make_root(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in NO_PLACE:
                raise
            raise ConfigurationError(
                f"store {self.root}: cannot be made ({error.strerror}); expected a directory that "
                f"this user can write"
            ) from error

    def _create_without_links(self, path: Path, data: bytes) -> bool:
        try:
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
        _sync_directory(path.parent)
        return True

    def _into_place(self, path: Path, place: Callable[[], object]) -> None:
        for left in reversed(range(PLACE_ATTEMPTS)):
            try:
                self._make_directory(path.parent)
                place()
                return
            except FileNotFoundError:  # a neighbour's delete pruned the directory meanwhile
                if not left:
                    raise

    def _make_directory(self, directory: Path) -> None:
        missing = []
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for new in reversed(missing):
            # Not exist_ok: that raises again where a neighbour makes and prunes the directory.
            with contextlib.suppress(FileExistsError):
                new.mkdir()
            _sync_directory(new.parent)

    def _prune(self, directory: Path) -> None:
        # An object store has no empty directories; neither has its copy on disk.
        while directory != self.root:
            try:
                directory.rmdir()
            except OSError:
                return
            directory = directory.parent


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error name the object: a full disk says so of an open file, which has no name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def _linked(directory: Path | str) -> StoreError:
    return StoreError(
        f"{directory}: is, or lies behind, a link to a directory; expected one below the store, "
        f"so that nothing outside is changed or goes unseen. Move it here, mount it here, or let "
        f"the store's own URL lead to where all of it lies"
    )


def _sync_directory(directory: Path) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        # Pruned by a neighbour: until that is durable, a power loss brings the directory back,
        # with whatever was deleted from it since its last sync.
        _sync_directory(directory.parent)
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise  # some network file systems cannot sync a directory; others failed to
    finally:
        os.close(descriptor)


class MemoryObjects:
    """Objects in this process: what a hierarchy is laid out in before it is stored."""

    def __init__(self) -> None:
        self.url = "memory"
        self.data: dict[str, bytes] = {}

    def read(self, key: str) -> bytes:
        try:
            return self.data[_checked(key)]
        except KeyError as error:
            raise FileNotFoundError(key) from error

    def write(self, key: str, data: bytes) -> None:
        self.data[_checked(key)] = bytes(data)

    def create(self, key: str, data: bytes) -> bool:
        mine = bytes(bytearray(data))  # an object of its own, so that `is` tells who was first
        return self.data.setdefault(_checked(key), mine) is mine

    def delete(self, key: str) -> None:
        self.data.pop(_checked(key), None)

    def delete_tree(self, prefix: str) -> None:
        for key in list(self.keys(prefix)):
            self.delete(key)

    def exists(self, key: str) -> bool:
        return _checked(key) in self.data

    def keys(self, prefix: str) -> Iterator[str]:
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        yield from [key for key in self.data if key.startswith(start)]


class S3Objects:
    """Objects in an S3 bucket; exclusive creation by conditional requests, if the service has them.

    Parameters
    ----------
    url : `s3://bucket/prefix`
    access : how the service is reached
    """

    def __init__(self, url: str, access: StoreAccess | None = None) -> None:
        self._access = access or StoreAccess()
        self._bucket = S3Bucket(url, self._access, "store")
        self._conditional: bool | None = None
        self.url = self._bucket.url

    def read(self, key: str) -> bytes:
        return self._bucket.get(_checked(key))

    def write(self, key: str, data: bytes) -> None:
        self._bucket.put(_checked(key), data)

    def create(self, key: str, data: bytes) -> bool:
        _checked(key)
        if self._access.single_writer:
            if self._bucket.has(key):
                return False
            self._bucket.put(key, data)
            return True
        if self._conditional is None:
            self._conditional = self._probe()
        if not self._conditional:
            raise ConfigurationError(
                f"store {self.url}: the service ignores conditional writes (a second PUT with "
                f"If-None-Match: * replaced the object), so two runs could not see each other "
                f"and would mix their results; expected a service that has them. If you see to "
                f"it yourself that only one run writes this store, set store_access.single_writer"
            )
        try:
            self._bucket.create(key, data)
        except AlreadyThere:
            return False
        return True

    def delete(self, key: str) -> None:
        self._bucket.remove(_checked(key))

    def delete_tree(self, prefix: str) -> None:
        keys = list(self.keys(prefix))
        with ThreadPoolExecutor(DELETES_AT_ONCE, thread_name_prefix="delete") as pool:
            list(pool.map(self.delete, keys))

    def exists(self, key: str) -> bool:
        return self._bucket.has(_checked(key))

    def keys(self, prefix: str) -> Iterator[str]:
        for objects, _ in self._bucket.pages(f"{prefix.rstrip('/')}/" if prefix else ""):
            yield from (found.key for found in objects)

    def _probe(self) -> bool:
        """Whether a second creation of an object is refused."""
        key = f"{SCRATCH}/conditional-{uuid.uuid4().hex}"
        self._bucket.create(key, b"")
        try:
            self._bucket.create(key, b"")
        except AlreadyThere:
            return True
        finally:
            self._bucket.remove(key)
        return False


class FsspecObjects:
    """Objects of an fsspec file system whose writes replace whole objects (memory, gs …)."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # Listings are never cached: another run may have written since.
        self._fs, self._root = fsspec.url_to_fs(self.url, use_listings_cache=False)

    def read(self, key: str) -> bytes:
        data: bytes = self._fs.cat_file(self._path(key))
        return data

    def write(self, key: str, data: bytes) -> None:
        self._fs.pipe_file(self._path(key), data)

    def create(self, key: str, data: bytes) -> bool:
        try:
            self._fs.pipe_file(self._path(key), data, mode="create")
        except FileExistsError:
            return False
        return True

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def delete_tree(self, prefix: str) -> None:
        for key in list(self.keys(prefix)):
            self.delete(key)

    def exists(self, key: str) -> bool:
        self._fs.invalidate_cache()
        found: bool = self._fs.isfile(self._path(key))
        return found

    def keys(self, prefix: str) -> Iterator[str]:
        self._fs.invalidate_cache()
        path = self._path(prefix) if prefix else self._root
        found: list[str] | dict[str, Any] = self._fs.find(path)
        cut = len(self._root.rstrip("/")) + 1
        for name in found:
            if name != path:
                yield name[cut:]

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{_checked(key)}"
