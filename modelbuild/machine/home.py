"""Where the cache lies while nobody says, and whether the way there is its user's alone.

Imported by every command: see ``state.format`` for what that asks of a module.
"""

import os

TYPE_CHECKING = False  # what typing says, without its 10 ms; mypy knows the name
if TYPE_CHECKING:
    from pathlib import Path


def cache_folder() -> str:
    """``$MODELBUILD_CACHE_DIR``, else the user's cache folder, else (for a user without a home, as
    in some containers) one among the temporary files."""
    if named := os.environ.get("MODELBUILD_CACHE_DIR"):
        return named
    if base := os.environ.get("XDG_CACHE_HOME"):
        return f"{base}/modelbuild"
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        return f"{home}/.cache/modelbuild"
    return f"{os.environ.get('TMPDIR', '/tmp')}/modelbuild-{os.getuid()}"


def exposed(folder: str) -> "tuple[str, str] | None":
    """What on the way to a cache folder is not only its user's, and why; None if nothing is.

    Where everybody can make a name, as in ``/tmp``, another user may have made this one, and what
    lies behind it is theirs.
    """
    own = (os.geteuid(), 0)
    for way in (folder, os.path.realpath(folder)):
        place, shared = "", False
        parts = way.split("/")[1:]
        for number, part in enumerate(parts):
            place += f"/{part}"
            try:
                seen = os.lstat(place)
            except OSError:
                break  # it is made by this command, then
            if shared and seen.st_uid not in own:
                return place, f"belongs to another user (uid {seen.st_uid})"
            anybody = seen.st_mode & 0o170002 == 0o040002
            if shared and anybody and number == len(parts) - 1:
                return place, "can be written by everybody"
            shared = anybody
    return None


def default_root() -> "Path":
    from pathlib import Path

    return Path(cache_folder())
