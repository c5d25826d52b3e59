"""HTML as values: what is not markup already is escaped, wherever it comes from."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from modelbuild.base.escaping import visible

_VOID = frozenset({"meta", "br", "wbr", "line", "rect", "path", "circle"})


class Html(str):
    """Text that is markup."""

    __slots__ = ()


Content = str | int | None | Iterable["Content"]


def clipped(text: str, most: int = 200) -> str:
    """The text, with its middle left out if it is long: names differ at both ends."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def escaped(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return html.escape(visible(content))
    if isinstance(content, int):
        return str(content)
    return "".join(escaped(part) for part in content)


def prose(text: str, most: int = 2000) -> Html:
    """A sentence, with what stands in backticks as code."""
    parts = clipped(text, most).split("`")
    if len(parts) % 2 == 0:  # one of them has no other
        return joined("`".join(parts))
    return joined([tag("code", part) if i % 2 else part for i, part in enumerate(parts)])


def tag(name: str, /, *content: Content, **attributes: str | int | float | bool | None) -> Html:
    """An element. ``class_`` is ``class``; ``_`` is ``-``; True stands alone, None and False are left out."""
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written += f" {key}" if value is True else f' {key}="{html.escape(visible(str(value)))}"'
    if name in _VOID and not content:
        return Html(f"<{name}{written}>" if name in ("meta", "br", "wbr") else f"<{name}{written}/>")
    return Html(f"<{name}{written}>{escaped(content)}</{name}>")


def joined(*parts: Content) -> Html:
    return Html(escaped(parts))


def data(value: Any) -> Html:
    """JSON for a ``<script type="application/json">``: none of it can end the element.

    Raises:
        ValueError: there is a NaN or an infinity in it.
    """
    text = json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(text)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
