"""A git repository as it is read: revisions, files, bytes, and what the working tree has changed.

The repository may hold a stranger's pull request: ``plumbing`` runs git so that it runs nothing else.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelbuild.base.errors import RecipeError
from modelbuild.git.plumbing import MOST_LISTED, failed, quiet_environment, run, shown, without_filters

_MOST_HASHED = 1 << 26  # a larger file of the working tree counts as changed, and is not read

_FILE, _LINK, _MODULE = "100644", "120000", "160000"
_REGULAR = ("100644", "100755")


@dataclass(frozen=True)
class TreeEntry:
    """A file of a revision or of the working tree; ``blob`` is the id of its bytes as they are.

    In the working tree nobody has hashed a file that git does not know or that was written since:
    its ``blob`` is None.
    """

    mode: str
    blob: str | None

    @property
    def is_file(self) -> bool:
        return self.mode in _REGULAR

    @property
    def is_link(self) -> bool:
        return self.mode == _LINK


@dataclass(frozen=True)
class Blob:
    """``size`` bytes, of which ``data`` are the first; ``missing`` where this clone has none of them."""

    size: int
    data: bytes
    missing: bool = False


@dataclass(frozen=True)
class Repository:
    """``root`` is the folder of the working tree, without symbolic links."""

    root: Path
    environment: Mapping[str, str]

    @classmethod
    def at(cls, folder: Path) -> Repository:
        """The repository that ``folder`` is in.

        Raises:
            RecipeError: ``git-failed``: there is no git, or no repository with a working tree.
        """
        environment = quiet_environment()
        git_said = None
        for root in _holders(folder, environment):
            done = run(["rev-parse", "--show-toplevel"], root, environment)
            if not done.code and Path(os.fsdecode(done.output.removesuffix(b"\n"))) == root:
                return cls(root, without_filters(root, environment))
            git_said = done.said or f"the working tree of {shown(root / '.git')} is elsewhere"
        git_said = git_said or run(["rev-parse", "--show-toplevel"], folder, environment).said
        hint = "name a folder of a git repository's working tree"
        raise failed(f"`{shown(folder)}` is in no git repository: {git_said}", hint)

    def commit(self, rev: str) -> str:
        """The full id of the commit that ``rev`` names.

        Raises:
            RecipeError: ``git-failed``: it names none, or this clone does not have it.
        """
        if not rev or rev.startswith("-") or not rev.isprintable() or len(rev) > 1000:
            said = f"`{shown(rev)}` is no git revision"
            raise failed(said, "name a commit, a branch or a tag, as `HEAD~1` or `origin/main`")
        done = run(
            ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}"],
            self.root,
            self.environment,
        )
        found = done.output.decode("ascii", "replace").strip()
        if done.code or not _is_id(found):
            raise self._unknown(f"there is no revision `{shown(rev)}` here")
        return found

    def merge_base(self, one: str, other: str) -> str:
        """The id of the newest commit that both commits come from.

        Raises:
            RecipeError: ``git-failed``: there is none, or this clone does not reach back to it.
        """
        done = run(["merge-base", "--end-of-options", one, other], self.root, self.environment)
        found = done.output.decode("ascii", "replace").strip()
        if done.code or not _is_id(found):
            raise self._unknown(f"no commit is known that {one[:12]} and {other[:12]} both come from")
        return found

    def files(self, commit: str) -> dict[str, TreeEntry]:
        """Every file of a commit by its path, from the root on; a submodule is one, too."""
        listed = self._lines(["ls-tree", "-r", "-z", "--full-tree", commit])
        files = {}
        for line in listed:
            head, _, path = line.partition(b"\t")
            mode, _, blob = head.decode("ascii").split(" ")
            files[os.fsdecode(path)] = TreeEntry(mode, blob)
        return files

    def edits(self, commit: str) -> dict[str, TreeEntry | None]:
        """What the working tree has otherwise than the commit, by path: None where it is no more.

        Files that git does not know are in it, those that it ignores are not.
        """
        # Whether a submodule is as its commit has it git would ask with that one's own configuration,
        # which may name commands.
        listed = self._lines(
            ["diff-index", "--raw", "-z", "--no-renames", "--no-ext-diff", "--no-textconv",
             "--ignore-submodules=dirty", commit, "--"]
        )  # fmt: skip
        edits: dict[str, TreeEntry | None] = {}
        rows = iter(listed)
        for row, path in zip(rows, rows, strict=True):
            old_mode, mode, old, new, status = row.decode("ascii").removeprefix(":").split(" ")
            name = os.fsdecode(path)
            if status == "U":  # a merge that is not resolved: what lies there counts
                edits[name] = _lies_there(self.root / name)
            elif not mode.strip("0"):
                edits[name] = None
            elif new.strip("0"):
                edits[name] = TreeEntry(mode, new)
            elif mode != old_mode or mode == _MODULE or self.hashed(name, len(old)) != old:
                edits[name] = TreeEntry(mode, None)  # else only its time is another
        for path in self._lines(["ls-files", "-z", "--others", "--exclude-standard", "--full-name"]):
            name = os.fsdecode(path).removesuffix("/")  # a repository in the repository
            edits[name] = _lies_there(self.root / name)
        edits |= {name: TreeEntry(_MODULE, None) for name in self._modules() if self._is_edited(name)}
        return edits

    def _modules(self) -> list[str]:
        """The submodules, as the index has them."""
        listed = (line.partition(b"\t") for line in self._lines(["ls-files", "--stage", "-z"]))
        return [os.fsdecode(path) for head, _, path in listed if head.startswith(_MODULE.encode())]

    def _is_edited(self, module: str) -> bool:
        """Whether the working tree of a submodule has anything otherwise than its own commit."""
        place = self.root / module
        if not os.path.lexists(place / ".git") or place.resolve() != place:
            return False  # it is not checked out
        try:
            inner = Repository.at(place)
            return inner.root != place or bool(inner.edits(inner.commit("HEAD")))
        except RecipeError:
            return True

    def read(self, blobs: Iterable[str], limit: int, total: int = 1 << 28) -> dict[str, Blob]:
        """The bytes of blobs by their ids, at most ``limit`` of each, and of all at most ``total``.

        Raises:
            RecipeError: ``git-failed``: they are more than that.
        """
        asked = list(dict.fromkeys(blobs))
        sizes = self._sizes(asked)
        small = [blob for blob in asked if 0 <= sizes[blob] <= limit]
        if sum(sizes[blob] for blob in small) > total:
            raise failed(f"{len(small)} files are larger than {total >> 20} MiB in all", "compare fewer")
        held = self._contents(small, sizes)
        for blob in asked:
            if sizes[blob] < 0:
                held[blob] = Blob(0, b"", missing=True)
            elif sizes[blob] > limit:
                start = self._output(["cat-file", "blob", blob], most=limit, cut=True)
                held[blob] = Blob(sizes[blob], start)
        return held

    def hashed(self, path: str, digits: int = 40) -> str | None:
        """The id of a file of the working tree as it lies there, through no filter.

        None for what is no file and no link, cannot be read, or is larger than 64 MiB.
        """
        found = self.content(path, _MOST_HASHED)
        if found is None or found.size > _MOST_HASHED:
            return None
        return blob_id(found.data, digits)

    def content(self, path: str, limit: int) -> Blob | None:
        """The first ``limit`` bytes of a file of the working tree; of a link, its target.

        A link is not followed. None where there is neither, or it cannot be read.
        """
        place = self.root / path
        try:
            seen = place.lstat()
            if stat.S_ISLNK(seen.st_mode):
                target = os.fsencode(os.readlink(place))
                return Blob(len(target), target[:limit])
            if not stat.S_ISREG(seen.st_mode):
                return None
            with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                return Blob(seen.st_size, file.read(limit))
        except OSError:
            return None

    def _sizes(self, blobs: Sequence[str]) -> dict[str, int]:
        """In bytes; -1 for what this clone does not have or is no blob."""
        if not blobs:
            return {}
        listed = self._output(["cat-file", "--batch-check", "--buffer"], blobs)
        sizes = {}
        for blob, line in zip(blobs, listed.splitlines(), strict=True):
            _, kind, *size = line.split(b" ")
            sizes[blob] = int(size[0]) if kind == b"blob" else -1
        return sizes

    def _contents(self, blobs: Sequence[str], sizes: Mapping[str, int]) -> dict[str, Blob]:
        if not blobs:
            return {}
        room = sum(sizes[blob] + 100 for blob in blobs)
        listed = self._output(["cat-file", "--batch", "--buffer"], blobs, most=room)
        held, at = {}, 0
        for blob in blobs:
            start = listed.index(b"\n", at) + 1
            at = start + sizes[blob] + 1
            held[blob] = Blob(sizes[blob], listed[start : at - 1])
        return held

    def _lines(self, arguments: Sequence[str]) -> list[bytes]:
        return self._output(arguments).split(b"\0")[:-1]

    def _output(
        self, arguments: Sequence[str], asked: Iterable[str] = (), most: int = MOST_LISTED, cut: bool = False
    ) -> bytes:
        """What git says. With ``cut``, it may say more than ``most`` bytes: they are not read."""
        done = run(arguments, self.root, self.environment, asked, most, cut)
        if done.code:
            partial = "lazy fetching" in done.said or "transport" in done.said
            hint = (
                "this clone is partial, and nothing is fetched here: `git fetch --refetch --no-filter` first"
            )
            raise failed(
                f"`git {arguments[0]}` failed: {done.said}",
                hint if partial else "`git fsck` looks for damage",
            )
        return done.output

    def _unknown(self, said: str) -> RecipeError:
        shallow = run(["rev-parse", "--is-shallow-repository"], self.root, self.environment)
        if shallow.output.strip() == b"true":
            hint = "this clone is shallow: `git fetch --depth=1000 origin REVISION` gets more of it"
        else:
            hint = "`git fetch` gets what a remote has; `git log --oneline --all` lists what is here"
        return failed(said, hint)


def _holders(folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Folders with a ``.git``, from ``folder`` up, as far as git itself would look.

    It would take any folder that is laid out as a repository for one, too. A commit can hold such a
    folder, with a configuration that says that its working tree is the whole disk.
    """
    here = folder.resolve()
    ceilings = {os.path.realpath(c) for c in environment.get("GIT_CEILING_DIRECTORIES", "").split(":") if c}
    across = environment.get("GIT_DISCOVERY_ACROSS_FILESYSTEM", "") in ("1", "true", "yes", "on")
    try:
        device = here.stat().st_dev
        for place in (here, *here.parents):
            if place != here and str(place) in ceilings:
                return
            if place.stat().st_dev != device and not across:
                return
            if os.path.lexists(place / ".git"):
                yield place
    except OSError:
        return


def blob_id(data: bytes, digits: int = 40) -> str:
    """git's id of a file with these bytes: of 40 hexadecimal digits, or 64 where it counts in SHA-256."""
    made = hashlib.sha1(usedforsecurity=False) if digits == 40 else hashlib.sha256()
    made.update(b"blob %d\0" % len(data))
    made.update(data)
    return made.hexdigest()


def _lies_there(path: Path) -> TreeEntry | None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    if stat.S_ISLNK(mode):
        return TreeEntry(_LINK, None)
    return TreeEntry(_MODULE if stat.S_ISDIR(mode) else _FILE, None)


def _is_id(text: str) -> bool:
    return len(text) in (40, 64) and not set(text) - set("0123456789abcdef")
