"""Options that several verbs of the command line share, so that one thing has one name."""

from __future__ import annotations

import argparse
from typing import Any

from reprocess.campaign import StoreAccess, parse_store_access, parse_years
from reprocess.errors import ConfigurationError


def add_verb(verbs: Any, name: str, text: str) -> argparse.ArgumentParser:
    """Declare a verb, or a kind of one, with the same text in the list and on its own page."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    return verb


def add_store(verb: argparse.ArgumentParser) -> None:
    """Declare `STORE`, the store that a verb reads, and `--access`."""
    verb.add_argument("store", metavar="STORE", help="directory or URL of the store")
    add_access(verb)


def add_access(verb: argparse.ArgumentParser, option: str = "--access") -> None:
    """Declare how a store on S3 is reached; see `access_of`."""
    verb.add_argument(
        option, nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="S3: profile, endpoint_url, region, anonymous …, as store_access in a campaign",
    )  # fmt: skip


def access_of(options: argparse.Namespace, option: str = "--access") -> StoreAccess | None:
    """How the store is reached; None where the option was not given.

    Raises
    ------
    ConfigurationError
        If a key is unknown or its value wrong.
    """
    items: list[str] = getattr(options, option.removeprefix("--").replace("-", "_"))
    return parse_store_access(items, option) if items else None


def add_years(verb: argparse.ArgumentParser, default: str = "all") -> None:
    """Declare `--years`; see `years_of`."""
    verb.add_argument(
        "--years", nargs="+", metavar="YEAR", help=f"such as 2018-2020 2023; default {default}"
    )


def years_of(options: argparse.Namespace) -> tuple[int, ...] | None:
    """Years asked for, sorted; None where the option was not given.

    Raises
    ------
    ConfigurationError
        If one of them is no year and no range of years.
    """
    return None if options.years is None else parse_option_years("--years", options.years)


def parse_option_years(option: str, items: list[str]) -> tuple[int, ...]:
    """Years of an option, sorted.

    Raises
    ------
    ConfigurationError
        If one of them is no year and no range of years.
    """
    try:
        return parse_years(items)
    except ValueError as error:
        raise ConfigurationError(f"{option}: expected {error}") from error


def add_detectors(verb: argparse.ArgumentParser, text: str) -> None:
    """Declare `--detectors`; see `labels_of`."""
    verb.add_argument("--detectors", metavar="A,B", help=text)


def labels_of(options: argparse.Namespace) -> list[str] | None:
    """Labels asked for, in their order, each once; None where the option was not given."""
    return None if options.detectors is None else list(dict.fromkeys(options.detectors.split(",")))


def add_overrides(verb: argparse.ArgumentParser, of: str = "the campaign") -> None:
    """Declare `--set`, which replaces values of a campaign before it is validated."""
    verb.add_argument(
        "--set", nargs="+", action="extend", default=[], dest="overrides", metavar="KEY.SUB=VALUE",
        help=f"replace values of {of}",
    )  # fmt: skip
