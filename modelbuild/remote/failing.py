"""What goes wrong behind a URL, in the words for a person: the remote as a whole, or one thing in it."""

from __future__ import annotations

from modelbuild.base.errors import Diagnostic, ModelbuildError


class Trouble(Exception):
    """A place behind a URL did not do what it was asked: it cannot be reached, or does not let us."""


class Damaged(Exception):
    """One thing in a remote that is not what it is called: it is not used, and the others are."""


class Off(ModelbuildError):
    """The remote failed, and is not asked again by this command; ``why`` in words, without the URL."""

    def __init__(self, url: str, why: str) -> None:
        hint = (
            "look at `url` in [tool.modelbuild.remote]; a folder is made, or mounted, by who shares it"
            if url.startswith("file:")
            else "look at `url` in [tool.modelbuild.remote], and at the credentials in the environment"
        )
        super().__init__(Diagnostic("remote-failed", f"{url}: {why}", hint))
        self.url = url
        self.why = why

    def __reduce__(self) -> tuple[type[Off], tuple[str, str]]:
        return (type(self), (self.url, self.why))


class Forbidden(Trouble):
    """It is there, and these credentials may not do that."""
