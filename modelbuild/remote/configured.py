"""Which remote a project has, and whose entries count there: ``[tool.modelbuild.remote]``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelbuild import settings
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.remote.signing import public_key
from modelbuild.wording.phrases import did_you_mean

_SCHEMES = ("s3", "gs", "az", "https", "file")
_HERE = ("127.0.0.1", "::1", "localhost")
_KEYS = ("url", "trust", "salt")
TABLE = "[tool.modelbuild.remote]"


@dataclass(frozen=True)
class Trusted:
    """A public key, and of which steps its entries count; None of all."""

    key: bytes
    steps: frozenset[str] | None = None


@dataclass(frozen=True)
class Remote:
    """Where it is, whom its reader believes, and what keys are salted with."""

    url: str
    trust: tuple[Trusted, ...] = ()
    salt: str = ""


def configured(folder: Path) -> Remote | None:
    """The remote of the project that a folder is in; None if it has none.

    Raises:
        RecipeError: the table is wrong, or the file cannot be read.
    """
    for path in settings.candidates(str(folder.absolute())):
        try:
            data = settings.content(path)
        except OSError as error:
            said = f"cannot read the project file: {error.strerror}"
            raise _wrong(said, "let it be read", settings.shown(path)) from error
        if data is None or not settings.may_speak(data):
            continue
        table = _table(data, path)
        if table is not None:
            return None if table.get("remote") is None else read(table["remote"], settings.shown(path))
    return None


def _table(data: bytes, path: str) -> dict[str, Any] | None:
    try:
        return settings.table(data[: settings.MOST_BYTES].decode())
    except (ValueError, RecursionError) as error:
        raise _wrong(
            f"not valid TOML: {error}", "`modelbuild check` says where", settings.shown(path)
        ) from None


def read(table: Any, where: str) -> Remote:
    """The remote that a table tells of; ``where`` is the file, for errors.

    Raises:
        RecipeError: it is wrong.
    """
    if not isinstance(table, dict):
        raise _wrong("it is no table", f'put `url = "s3://bucket/prefix"` under {TABLE}', where)
    for key in table:
        if key not in _KEYS:
            raise _wrong(
                f"unknown key `{key}`", did_you_mean(key, _KEYS, "there are url, trust and salt"), where
            )
    url, salt, trust = table.get("url"), table.get("salt", ""), table.get("trust", [])
    scheme = _scheme(url)
    if not isinstance(url, str) or scheme not in (*_SCHEMES, "http") or url == f"{scheme}://":
        raise _wrong(
            "`url` names no place", f"it begins with one of {', '.join(f'{s}://' for s in _SCHEMES)}", where
        )
    if scheme == "http" and urlsplit(url).hostname not in _HERE:
        raise _wrong("`url` is not encrypted", "write https://; http:// is for 127.0.0.1 alone", where)
    if scheme == "file" and not url.startswith("file:///"):
        raise _wrong("`url` is no absolute path", "write file:///a/folder", where)
    if not isinstance(salt, str):
        raise _wrong("`salt` is no text", 'write salt = "words"', where)
    if not isinstance(trust, list):
        raise _wrong("`trust` is no list", 'write trust = ["ed25519:..."]', where)
    if not trust and scheme != "file":
        raise _wrong(
            "`trust` names nobody: whoever can write there could put anything into a build",
            "`modelbuild cache keygen` makes a key; without `trust`, `url` may only be file://",
            where,
        )
    return Remote(url.rstrip("/"), tuple(_trusted(row, n, where) for n, row in enumerate(trust, 1)), salt)


def _scheme(url: Any) -> str:
    try:
        return urlsplit(url).scheme if isinstance(url, str) else ""
    except ValueError:
        return ""


def _trusted(row: Any, number: int, where: str) -> Trusted:
    key, steps = row, None
    if isinstance(row, dict):
        key, steps = row.get("key"), row.get("steps")
        if not row.keys() <= {"key", "steps"} or not (steps is None or _is_texts(steps)):
            raise _wrong(f"`trust`, number {number}, is neither a key nor a key with its steps",
                         'write {key = "ed25519:...", steps = ["engine", "verify"]}', where)  # fmt: skip
    try:
        raw = public_key(key if isinstance(key, str) else "")
    except ValueError as error:
        hint = "`modelbuild cache keygen` prints one as it is to be written here"
        raise _wrong(f"`trust`, number {number}, is no public key: {error}", hint, where) from None
    return Trusted(raw, None if steps is None else frozenset(steps))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _wrong(said: str, hint: str, where: str) -> RecipeError:
    return RecipeError(Diagnostic("recipe-invalid", f"{TABLE}: {said}", hint, where))
