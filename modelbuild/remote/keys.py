"""The keys of people: a new pair in a file, and the one that the environment says to sign with."""

from __future__ import annotations

import os
from pathlib import Path

from modelbuild.base.errors import Diagnostic, RecipeError, ToolchainError
from modelbuild.machine.environment import SIGNING_KEY
from modelbuild.remote.configured import Remote
from modelbuild.remote.signing import Signer, generate


def written(path: Path) -> str:
    """Write a new secret key, which its owner alone can read. Gives the public one, as ``trust`` has it.

    Raises:
        RecipeError: something has this name already: a key is never written over.
        ToolchainError: ``extra-missing``: the extra ``remote`` is not installed.
        OSError: it cannot be written there.
    """
    need_extra()
    public, secret = generate()
    try:
        place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        said = f"{path} is there, and a key is never written over: what it has signed would be lost with it"
        raise RecipeError(Diagnostic("recipe-invalid", said, "name another file with -o")) from None
    with open(place, "w", encoding="ascii") as file:
        file.write(secret)
    return public


def signer(remote: Remote) -> Signer:
    """Who signs, as the environment says: someone whom readers of this remote believe.

    Raises:
        RecipeError: no key is named, it is none, or the project file does not trust it.
        ToolchainError: ``extra-missing``: the extra ``remote`` is not installed.
    """
    need_extra()
    named = os.environ.get(SIGNING_KEY)
    if not named:
        raise RecipeError(
            Diagnostic(
                "recipe-invalid",
                f"a push signs what it sends, and {SIGNING_KEY} does not say with which key",
                "set it to the key's file or its text; `modelbuild cache keygen` makes one",
            )
        )
    try:
        found = Signer.read(named)
    except (OSError, ValueError) as error:
        said = f"{SIGNING_KEY} is no key to sign with: {_reason(error)}"
        hint = "it is the path of a PKCS8 PEM with an Ed25519 key, or that text"
        raise RecipeError(Diagnostic("recipe-invalid", said, hint)) from None
    if remote.trust and not any(trusted.key == found.raw for trusted in remote.trust):
        raise RecipeError(
            Diagnostic(
                "recipe-invalid",
                f"nobody would take what this key signs: {found.public} is not in `trust`",
                f'put "{found.public}" into `trust` of [tool.modelbuild.remote]',
            )
        )
    return found


def need_extra() -> None:
    """Raises ToolchainError: ``extra-missing``: what reaches a remote, or signs, is not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("obstore", "cryptography") if find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        said = f"a remote needs {' and '.join(missing)}, which {are} not installed"
        raise ToolchainError(Diagnostic("extra-missing", said, 'pip install "modelbuild[remote]"'))


def _reason(error: Exception) -> str:
    """Without the text of a key, which a message would take into a log."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it cannot be read as one"
