"""Secrets never pass through this package: URLs and settings that hold one are refused."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

WHERE_SECRETS_BELONG = (
    "keys, tokens and passwords belong in ~/.aws/credentials (name its profile in the campaign "
    "or in AWS_PROFILE) or in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
)
_SECRET = re.compile(r"key|secret|token|passw|credential|signature|^sig$|^auth", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Tell whether a setting or a URL parameter of this name holds a secret."""
    return _SECRET.search(name) is not None


def holds_secret(url: str) -> bool:
    """Tell whether a URL carries a user's name, a password or a signature."""
    if "://" not in url:
        return False
    parts = urlsplit(url)
    named = any(is_secret_name(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return "@" in parts.netloc or named


def redacted(url: str) -> str:
    """Return a URL fit to be shown: without user, password and query."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = "…" if parts.query else ""
    return urlunsplit((parts.scheme, host, parts.path, query, parts.fragment))
