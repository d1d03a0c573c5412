"""Parts of the installation that not every machine needs, and how to get them."""

from __future__ import annotations

import importlib.util

from reprocess.errors import ConfigurationError


def require(module: str, extra: str, what: str) -> None:
    """Refuse to go on where an optional package is not installed.

    Parameters
    ----------
    module : that is going to be imported
    extra : of this package, which brings it
    what : needs it

    Raises
    ------
    ConfigurationError
        Naming the command that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigurationError(
            f"{what} needs {module}, which is not installed here; "
            f"install it: pip install 'reprocess[{extra}]'"
        )
