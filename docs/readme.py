"""The README as a package index shows it, which has no files beside it: hatchling asks this for the metadata.

Links to files of the repository lead to where the project says that its source lies (``Source`` under
``[project.urls]``), at the tag of this version; while it says nothing, they are words.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<picture>!?)\[(?P<words>[^\]]*)\]\((?P<to>(?![a-z]+:|#)[^)\s]+)\)")
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE)


class Readme(MetadataHookInterface):
    """Puts it under ``readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        at = f"v{metadata['version']}"
        metadata["readme"] = {"content-type": "text/markdown", "text": published(text, source, at)}


def published(text: str, source: str | None, at: str) -> str:
    """The text without links that lead nowhere, and without comments that are for tests."""

    def absolute(link: re.Match[str]) -> str:
        if source is None:
            return "" if link["picture"] else link["words"]
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}[{link['words']}]({source.rstrip('/')}/{kind}/{at}/{link['to']})"

    return _LINK.sub(absolute, _COMMENT.sub("", text))
