"""What the page carries with it: its style, its script, and Vega."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib.resources import files
from importlib.util import find_spec

from modelbuild.base.errors import Diagnostic, ToolchainError

# Vega compiles its expressions, which are its own and those of our specs: hence 'unsafe-eval'. No
# script runs that is not one of the two that are named by digest, and nothing is fetched.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "script-src 'unsafe-eval' {scripts}"
)


# What Vega is for the page's script: one function.
_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def need() -> None:
    """Is there what the plots are drawn with? It is looked for, not imported.

    Raises:
        ToolchainError: ``extra-missing``: it is an extra, and not installed.
    """
    if find_spec("vl_convert") is None:
        message = "a report needs vl-convert-python, which is not installed"
        raise ToolchainError(Diagnostic("extra-missing", message, 'pip install "modelbuild[report]"'))


@functools.cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, 0.9 MB; takes 1 to 2 s."""
    import vl_convert

    return vl_convert.javascript_bundle(_SNIPPET)


def own(name: str) -> str:
    """``page.css`` or ``page.js``."""
    return (files("modelbuild.views.reporting") / name).read_text("utf-8")


def policy(*scripts: str) -> str:
    """The page's Content-Security-Policy, with which only these scripts run."""
    digests = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    return _POLICY.format(scripts=" ".join(f"'sha256-{d}'" for d in digests))
