"""JSON documents that tell when one bit of them has changed.

Everything beside the Zarr stores (records, settings, locks, runs) is a small
JSON object that carries the SHA-256 of its own content. It is a check against
damage, not against malice: who can write the store can write the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"


def canonical(value: Any) -> bytes:
    """JSON bytes that are the same for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def seal(document: Mapping[str, Any]) -> bytes:
    """The bytes of a document, with the digest of its content under `sha256`.

    What JSON has no form for is written as text. Equal documents give equal bytes.
    """
    plain = json.loads(json.dumps(document, default=str))
    plain.pop(SEAL, None)
    sealed = {**plain, SEAL: hashlib.sha256(canonical(plain)).hexdigest()}
    return json.dumps(sealed, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def unseal(data: bytes, *, required: bool = True) -> dict[str, Any]:
    """The document in some bytes, without its seal.

    Parameters
    ----------
    required : refuse a document without a seal; a broken seal is always refused

    Raises
    ------
    ValueError
        If it is not a JSON mapping, or its content is not what the seal says.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {str(error) or 'nested too deeply'}") from error
    if not isinstance(document, dict):
        raise ValueError(f"a {type(document).__name__}, expected a mapping")
    stated = document.pop(SEAL, None)
    if stated is None and not required:
        return document
    if stated is None:
        raise ValueError(f"without the {SEAL} of its content")
    if stated != hashlib.sha256(canonical(document)).hexdigest():
        raise ValueError(f"content that is not what its {SEAL} says: it was damaged or edited")
    return document
