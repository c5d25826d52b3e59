"""What a workflow has more where the project names a remote cache: a job that pushes what the build made.

Who builds only reads, as model code runs there. The rights to write and the key to sign with are of the other
job, which runs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from modelbuild.remote.configured import configured
from modelbuild.setup.ci.rendering import rendered

PLACES = {"READS": "shared-reads.yml", "PACK": "shared-pack.yml", "PUSH": "shared-push.yml"}
"""The templates whose texts go into the workflow, by the place where."""

_EXTRA = "remote"
_ON_ITS_GPU = """
    # The engines' keys have the GPU in them: name the runner of `build` here, too."""


def is_shared(folder: Path) -> bool:
    """Whether the project of a folder has a remote that GitHub's machines may reach: a folder is none.

    Raises:
        RecipeError: what the project file says of it is wrong.
    """
    remote = configured(folder)
    return remote is not None and urlsplit(remote.url).scheme not in ("file", "http")


def shared(values: Mapping[str, str], branch: str) -> dict[str, str]:
    """These values of the workflow, with what lets ``branch`` push and everybody read."""
    extras = f"{values['EXTRAS']},{_EXTRA}"
    known = {**values, "EXTRAS": extras, "REF": branch, "RUNNER": _ON_ITS_GPU if values["GPU"] else ""}
    return {**known, **{place: rendered(name, known) for place, name in PLACES.items()}}


def unshared(values: Mapping[str, str]) -> dict[str, str]:
    """These values of the workflow, of a project that keeps its results to itself."""
    return {**values, **dict.fromkeys(PLACES, "")}
