"""What the libraries say, without their C++, and how a failure is said here."""

from __future__ import annotations

import re

from modelbuild.base.errors import Diagnostic, StepError

# What surrounds the reason in the words of the library: its C++ conditions, functions and lines.
_WRAPPED = re.compile(r"^\S+: Error Code \d+: [^(]*\((.*)\)$")
_PLACE = re.compile(r"\.?\s*In \S+ at \S+:\d+")
_NODE = re.compile(r"In node -?\d+ with name: .*? and operator: .*? \(\w+\): \w+: ")
_ASSERTION = re.compile(r"Assertion failed: .*?: ")
_CONDITION = re.compile(r'^.* && "(.*)"$')
_ALONE = re.compile(r"^\((.*)\)$")
# Said after any other error where there is no GPU; and what only repeats the node's name.
_NOISE = re.compile(r"catchCudaError|^Invalid Node - |^false$")


def plain(text: str) -> str:
    """An error of the library as one line, without its C++."""
    parts = []
    for line in text.splitlines():
        if not _NOISE.search(line):
            said = _WRAPPED.sub(r"\1", line.strip())
            for dropped in (_PLACE, _NODE, _ASSERTION):
                said = dropped.sub("", said)
            said = _CONDITION.sub(r"\1", said.strip())
            parts.append(_ALONE.sub(r"\1", said))
    return " ".join(part for part in parts if part)


def failed(message: str, hint: str | None = None) -> StepError:
    return StepError(Diagnostic("engine-failed", message, hint))
