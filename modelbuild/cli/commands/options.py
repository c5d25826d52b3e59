"""Options that several commands take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild import settings

if TYPE_CHECKING:
    from modelbuild.building.request import Request


def recipes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", nargs="+", metavar="RECIPE",
                        help="a recipe, a folder of recipes, or a glob")  # fmt: skip


def work(parser: argparse.ArgumentParser) -> None:
    """Options of what runs steps, for all of a recipe's artifacts or some."""
    places(parser)
    only(parser)
    parser.add_argument("-j", "--jobs", type=_count, metavar="N",
                        help="actions side by side (as many as there are cores)")  # fmt: skip


def only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", metavar="GLOB", help="only artifacts whose names match")


def places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="where artifacts go, in a folder per recipe (build)")  # fmt: skip
    cache_folder(parser)


def cache_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache-dir", type=Path, metavar="DIR",
                        help="the store (the user's cache folder)")  # fmt: skip


def since(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--changed-since", metavar="REV",
                        help="only recipes that a change since this git revision can touch")  # fmt: skip


def output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"),
                        help="json: one object on standard output, progress on standard error")  # fmt: skip


def volume(parser: argparse.ArgumentParser) -> None:
    """How much is printed for people; an object for programs is the same."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument("-q", "--quiet", dest="volume", action="store_const", const=settings.QUIET,
                        help="print errors only, on standard error")  # fmt: skip
    either.add_argument("-v", "--verbose", dest="volume", action="store_const", const=settings.VERBOSE,
                        help="print more: every table and reason in full, and where things are")  # fmt: skip


def request(options: argparse.Namespace, **more: Any) -> Request:
    """What a parsed command line asks for."""
    from modelbuild.building.request import Request

    known = {
        name: getattr(options, name) for name in ("jobs", "only", "changed_since") if hasattr(options, name)
    }
    return Request(options.recipes, options.out, options.cache_dir, **known, **more)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)
