"""YAML of people's files, without what YAML lets a file do to its reader.

Plain values only (no tag that makes Python objects), each key once, and no
more of it than was written: aliases that multiply, nesting without end and
files that never end are refused before anything is built from them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from reprocess.errors import ConfigurationError

BYTES_MAX = 4 << 20
NODES_MAX = 200_000
SCALAR_CHARACTERS_MAX = 10_000
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises
    ------
    ConfigurationError
        Naming the file, what was found and where.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); expected a campaign YAML file"
        ) from error
    if len(data) > BYTES_MAX:
        raise ConfigurationError(
            f"{path}: found more than {BYTES_MAX >> 20} MiB, expected a campaign YAML file"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: is not text ({error}); expected YAML in UTF-8"
        ) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Build the value of a YAML text; `source` names it in errors.

    Raises
    ------
    ConfigurationError
        If it is not YAML, holds a key twice, makes objects, or is more than it says.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _size(node, {}, frozenset())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source}: is not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigurationError(
            f"{source}: is nested too deeply; expected sections of plain values"
        ) from error
    except (ValueError, OverflowError, TypeError) as error:
        raise ConfigurationError(f"{source}: holds a value that is none: {error}") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with each key once and no base 60."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        # YAML 1.1 takes +12:00 for 720 and 1:00 for 60. YAML 1.2 does not, nor does anyone here.
        if kind is yaml.ScalarNode and implicit[0] and _BASE_60.fullmatch(value):
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        seen: dict[str, Any] = {}
        for key, _ in node.value:
            name = getattr(key, "value", None)
            # `<<` merges a section into another; what it brings may be overridden.
            if isinstance(name, str) and key.tag != "tag:yaml.org,2002:merge":
                if name in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None,
                        f"found the key {name[:100]!r} twice, first at line {seen[name].line + 1}",
                        key.start_mark,
                    )  # fmt: skip
                seen[name] = key.start_mark
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, int], above: frozenset[int]) -> int:
    """Values in a node with all aliases written out; refuses too many before they are built."""
    if id(node) in above:
        raise yaml.constructor.ConstructorError(
            None, None, "found a section that holds itself", node.start_mark
        )
    if id(node) in known:
        return known[id(node)]
    size = 1
    if isinstance(node, yaml.ScalarNode):
        if len(node.value) > SCALAR_CHARACTERS_MAX or (
            len(node.value) > 100 and _BASE_60.fullmatch(node.value)
        ):
            raise yaml.constructor.ConstructorError(
                None, None, f"found a value of {len(node.value)} characters", node.start_mark
            )
    else:
        inside = above | {id(node)}
        for item in node.value:
            for child in item if isinstance(item, tuple) else (item,):
                size += _size(child, known, inside)
        if size > NODES_MAX:
            raise yaml.constructor.ConstructorError(
                None, None,
                f"found more than {NODES_MAX} values once all aliases are written out",
                node.start_mark,
            )  # fmt: skip
    known[id(node)] = size
    return size
