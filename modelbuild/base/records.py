"""What steps say of their results, as it lies in files: the shape of every part that is read again.

In the cache it is the ``data`` of an entry, beside an artifact the rows of its manifest. A part that has
no shape here is shown to nobody and decides nothing. More keys than these are no fault: a newer version
may have written them.
"""

from __future__ import annotations

from typing import Any

from modelbuild.base.shapes import (
    anything,
    count,
    digest,
    flag,
    mapping,
    maybe,
    number,
    one_of,
    record,
    rows,
    slug,
    text,
)

SIZES = mapping(count)  # axis -> size

DIAGNOSTIC = record(
    {"code": slug, "message": text},
    {"hint": maybe(text), "where": maybe(text), "excerpt": maybe(text),
     "level": one_of("error", "warning", "info")},
)  # fmt: skip

_NUMBERS = dict.fromkeys(("relative_l2", "headroom", "max_abs", "max_rel", "cosine", "sqnr"), maybe(number))
_JUDGED = record({"measure": text, "value": number, "bound": number}, open=True)
_ERRORS = record(
    {"relative_l2": maybe(number), "headroom": maybe(number)},
    {**_NUMBERS, "judged": maybe(_JUDGED)},
    open=True,
)

PARITY = record(
    {"passed": flag, "evidence": text, "tolerance": text, "shapes": rows(SIZES), "outputs": mapping(_ERRORS)},
    {"samples": maybe(count), "errors": rows(_ERRORS), "spread": mapping(anything)},
    open=True,
)

MEASURED = record({}, {"passed": flag, "evidence": text, "outputs": mapping(record({}, _NUMBERS, open=True))},
                  open=True)  # fmt: skip

# Of an int8 node: how noisy what it makes is, in dB, and how noisy it is alone.
_NOISE = record(
    {"node": text, "op_type": text, "sqnr": maybe(number), "own": maybe(number), "upstream": rows(text)}
)
_RUNTIME = record({}, {"sqnr": maybe(number), "instructions": rows(text), "why": text, "not_run": text})
CONVERSION = record(
    {"method": text, "kept": rows(text)},
    {"kept_fp32": rows(text), "outside": text, "nodes": rows(_NOISE), "runtime": _RUNTIME},
    open=True,
)

# What a tensor held; ``upstream`` are the nodes before, whose lines are looked up.
_HELD = {"node": text, "op_type": text, "tensor": text, "largest": number, "overflows": count, "zeros": count,
         "nonfinite": count, "elements": count}  # fmt: skip
_RANGE = record({**_HELD, "upstream": rows(text)}, {"mean": number, "kept": flag})
RANGES = rows(_RANGE)

SOURCES = mapping(rows(text))  # a line of the model -> the nodes that come from there


def _axis(value: Any) -> bool:  # by its name, or its size where that is fixed
    return text(value) or count(value)


FAILED = "failed"  # in the data of what was measured and did not hold: the code of the error
WEIGHTS = "weights"  # in the data of what ran beside a model: the digest of its weights
REFUSED = "refused"  # in the data of an entry that is a refusal: its exit code

DATA = record(
    {},
    {
        "parity": maybe(PARITY),
        "conversion": maybe(CONVERSION),
        "ranges": maybe(RANGES),
        "sources": SOURCES,
        "not_proven": rows(text),
        WEIGHTS: digest,
        "outlines": mapping(mapping(text)),
        FAILED: slug,
        REFUSED: one_of(1, 2, 3, 4),
        # of a refusal: the axes that it names, the rows that fail, what it is told once by
        "axes": rows(_axis),
        "fails": rows(SIZES),
        "fault": text,
        "lasting": flag,
    },
    open=True,
)
