"""A remote behind a server (``s3``, ``gs``, ``az``, ``https``), through obstore.

Credentials are those of the environment, as the clouds' own tools read them. Where it has none, requests are
not signed, and no metadata address is asked: on a laptop that takes seconds. A server that only serves files
(``https``: nginx, say) lists a folder with a page, and the names of entries are found in that, whatever it
looks like: they are of one form.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelbuild.remote.failing import Forbidden, Trouble
from modelbuild.remote.layout import RemoteFile

_CHUNK = 4 << 20
_SINGLE = 256 << 20  # bytes; a larger file goes up in parts, which no server creates as one
_PAGE = 1 << 20  # bytes of a listing
_NAMES = re.compile(r"[0-9a-f]{64}-[0-9a-f]{16}(?:\.bare)?\.json", re.ASCII)

# What each cloud's tools take for credentials. Without any of them nothing is signed.
_CREDENTIALS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
           "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    "gs": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY",
           "GOOGLE_APPLICATION_CREDENTIALS"),
    "az": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_SAS_KEY",
           "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET",
           "AZURE_FEDERATED_TOKEN_FILE", "AZURE_STORAGE_TOKEN"),
}  # fmt: skip


@dataclass(frozen=True)
class Patience:
    """How long a server may take, in seconds; after ``retries`` more tries it is taken for gone.

    A transfer has to bring ``slowest`` bytes in each second, over any ``read`` seconds.
    """

    connect: float = 5.0
    read: float = 15.0
    retries: int = 2
    slowest: int = 1024

    @property
    def patience(self) -> float:
        """How long a call may go on in which nothing arrives: every try of it, and what lies between."""
        return (self.connect + self.read) * (1 + self.retries) + 2.0


class Cloud:
    """What ``bucket`` asks of a place, of a server. A name has ``/`` between its parts."""

    def __init__(self, url: str, limits: Patience) -> None:
        """Nothing is asked of it yet.

        Raises:
            Trouble: the URL or the environment is not enough to find it.
        """
        self._lists = not url.startswith("http")
        with _told():
            self._store = _opened(url, limits)

    def held(self, prefix: str) -> Iterator[RemoteFile]:
        """What lies below a folder; nothing if nothing does.

        Raises:
            Trouble: it cannot be listed.
        """
        import obstore

        if not self._lists:
            yield from self._linked(prefix.rstrip("/"))
            return
        with _told():
            for rows in obstore.list(self._store, prefix.rstrip("/"), chunk_size=100):
                for row in rows:
                    yield RemoteFile(row["path"], row["size"], row["last_modified"].timestamp())

    def _linked(self, folder: str) -> Iterator[RemoteFile]:
        """The entries that the page of a folder names; it says neither size nor time."""
        page = b""
        try:
            for chunk in self.chunks(folder):
                page += chunk
                if len(page) > _PAGE:
                    break
        except FileNotFoundError:
            return
        for name in sorted(set(_NAMES.findall(page[:_PAGE].decode("utf-8", errors="replace")))):
            yield RemoteFile(f"{folder}/{name}", 0, 0.0)

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file.

        Raises:
            FileNotFoundError: it is not there.
            Trouble: it cannot be read.
        """
        import obstore

        with _told():
            for chunk in obstore.get(self._store, name).stream(min_chunk_size=1):
                yield bytes(chunk)

    def exists(self, name: str) -> bool:
        """Whether it is there.

        Raises:
            Trouble: nobody can say.
        """
        import obstore

        try:
            with _told():
                obstore.head(self._store, name)
        except FileNotFoundError:
            return False
        return True

    def create(self, name: str, content: bytes | Path) -> None:
        """Put a file there. One that is larger than a single request takes is not refused where it is there
        already: it is called after its bytes, and those are the same.

        Raises:
            FileExistsError: something is there.
            Trouble: it cannot be written.
        """
        import obstore

        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        with _told():
            if size > _SINGLE or not self._lists:
                if self.exists(name):
                    raise FileExistsError(name)
                obstore.put(self._store, name, content, use_multipart=self._lists)
            else:
                obstore.put(self._store, name, content, mode="create", use_multipart=False)

    def delete(self, name: str) -> None:
        """Take a file away, if it is there.

        Raises:
            Trouble: it cannot be.
        """
        import obstore

        with _told(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, name)


def _opened(url: str, limits: Patience) -> Any:
    from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

    scheme, host, prefix = _parts(url)
    client: Any = {
        "connect_timeout": timedelta(seconds=limits.connect),
        "read_timeout": timedelta(seconds=limits.read),
        "timeout": timedelta(days=1),  # of a whole request: a large file on a slow line may take hours
        "allow_http": scheme == "http" or os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
    }
    retry: Any = {
        "max_retries": limits.retries,
        "retry_timeout": timedelta(seconds=limits.patience),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2,
        },
    }  # fmt: skip
    if scheme in ("http", "https"):
        return HTTPStore.from_url(url, client_options=client, retry_config=retry)
    unsigned = not any(os.environ.get(name) for name in _CREDENTIALS[scheme])
    config: Any = {"skip_signature": True} if unsigned else {}
    kind: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[scheme]
    return kind(host, prefix=prefix or None, config=config, client_options=client, retry_config=retry)


def _parts(url: str) -> tuple[str, str, str]:
    split = urlsplit(url)
    return split.scheme, split.netloc, split.path.strip("/")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What obstore raises, as ours: the first line of its words, which go on for pages."""
    try:
        from obstore import exceptions
    except ModuleNotFoundError as error:
        raise Trouble("obstore is not installed: pip install 'modelbuild[remote]'") from error

    try:
        yield
    except exceptions.AlreadyExistsError as error:
        raise FileExistsError(str(error)[:200]) from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
        raise Forbidden(_words(error)) from error
    except (exceptions.BaseError, ValueError, NotImplementedError) as error:
        # A refused deletion is an answer with its own words inside, and no error of its own.
        raise (Forbidden if "AccessDenied" in str(error) else Trouble)(_words(error)) from error


def _words(error: BaseException) -> str:
    said = next((row.strip() for row in str(error).splitlines() if row.strip()), type(error).__name__)
    return said[:300]
