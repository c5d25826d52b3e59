"""Build every architecture of a folder, and write the table of what came of it: docs/models.md.

    python bench/sweep_table.py FOLDER [NAMES...] [--limit 300] [--again] [--table-only] [--out FILE]

FOLDER has a folder for each model: NAME/NAME.yaml, and beside it what that recipe imports. Each is built
from nothing, in a cache of its own. Where it does not come out whole, it is built once more with the line
that the hint of ``ill-conditioned`` has, and with ``exporter: torchscript``. A model's line goes into
FOLDER/results.jsonl as soon as it is known; what has a line is not built again, so a run that was stopped
goes on where it was. Why a model is refused stands in the table in modelbuild's own words, or where somebody
has looked, in those of sweep_notes.yaml.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
NOTES = Path(__file__).with_name("sweep_notes.yaml")
WORDS = 110
"""Of what a refusal says, at most so many characters."""
_ALLOWS = re.compile(r"conditioning: ([\d.]+)")

Row = Mapping[str, Any]

PAGE = """\
# Models

What modelbuild makes of other people's architectures: tiny ones with random weights, each with a recipe as
an engineer would write it. A model is *whole* when every artifact of its recipe came out and was proven:
fp32, fp16 (`auto`), static variants, engines. *In part*: some came out, and one did not. *Refused*: none did.
A proof that fails publishes nothing, so none is wrong where it was compared. *Kept* is how many nodes the
first fp16 file keeps in fp32. With the `conditioning` that the error proposes: PyTorch's float32 is as far
from float64, and the recipe accepts it (`tolerance: {conditioning: 4}`). Seconds are those of a build from
nothing, on two cores that have other work too, in some rows most of the time. Written by
`python bench/sweep_table.py FOLDER`, see its first lines.

"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=lambda text: Path(text).resolve())
    parser.add_argument("names", nargs="*")
    parser.add_argument("--limit", type=float, default=300, metavar="SECONDS", help="for one build (300)")
    parser.add_argument("--again", action="store_true", help="also what has a line already")
    parser.add_argument("--table-only", action="store_true", help="build nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "models.md")
    options = parser.parse_intermixed_args()
    file = options.folder / "results.jsonl"
    known = read(file)
    for folder in [] if options.table_only else models(options.folder, options.names):
        if folder.name in known and not options.again:
            continue
        row = attempt(folder, options.limit)
        with file.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        print(f"{row['seconds']:6.1f} s  {row['name']:28} {row['outcome']} {row['code']}", flush=True)
    notes = yaml.safe_load(NOTES.read_text(encoding="utf-8"))
    options.out.write_text(page(read(file).values(), notes), encoding="utf-8")
    return 0


def models(folder: Path, names: Iterable[str]) -> list[Path]:
    """The folders with a recipe of their own name; those named, in that order, or all."""
    if named := [folder / name for name in names]:
        return named
    return sorted(f for f in folder.iterdir() if (f / f"{f.name}.yaml").is_file())


def read(file: Path) -> dict[str, Row]:
    """Each model's last line."""
    if not file.is_file():
        return {}
    return {row["name"]: row for row in map(json.loads, file.read_text().splitlines())}


# ---- building -----------------------------------------------------------------------------------


def attempt(folder: Path, limit: float) -> Row:
    """One model's line; where its recipe does not come out whole, that of what a reader would try next."""
    row = built(folder, f"{folder.name}.yaml", limit)
    if row["outcome"] == "whole":
        return row
    recipe = yaml.safe_load((folder / f"{folder.name}.yaml").read_text())
    for outcome, changed in others(recipe, row.get("allows")):
        other = folder / f"{folder.name}.{outcome}.yaml"
        other.write_text(yaml.safe_dump(changed, sort_keys=False))
        again = built(folder, other.name, limit)
        if again["outcome"] == "whole":
            return {**again, "name": row["name"], "outcome": outcome, "code": row["code"], "why": row["why"]}
        row = {**row, outcome: again["code"]}
    return row


def others(recipe: Mapping[str, Any], allows: float | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The recipe with what the error's hint proposes, where that is a conditioning; and with torchscript."""
    if allows is not None:
        precision = recipe["precision"]
        fp32 = {**(precision.get("fp32") or {}), "tolerance": {"conditioning": allows}}
        yield "conditioned", {**recipe, "precision": {**precision, "fp32": fp32}}
    yield "torchscript", {**recipe, "exporter": "torchscript"}


def built(folder: Path, recipe: str, limit: float) -> Row:
    """One build from nothing, and what of it goes into the table."""
    stem = recipe.removesuffix(".yaml")
    out, cache = folder / f"{stem}.built", folder / f"{stem}.cache"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "modelbuild", "build", recipe, "--out", out.name, "--format", "json"]
    start = time.monotonic()
    answer, code = answered(command, folder, {**os.environ, "MODELBUILD_CACHE_DIR": str(cache)}, limit)
    seconds = time.monotonic() - start
    (folder / f"{stem}.json").write_text(answer)
    shutil.rmtree(cache, ignore_errors=True)
    row = {"name": folder.name, "seconds": round(seconds, 1)}
    if code is None:
        return {**row, "outcome": "refused", "code": "out-of-time", "why": f"no answer in {limit:.0f} s"}
    try:
        return row | judged(json.loads(answer))
    except ValueError:
        return {**row, "outcome": "refused", "code": "no-answer", "why": f"exit code {code}"}


def answered(
    command: list[str], folder: Path, environment: Mapping[str, str], limit: float
) -> tuple[str, int | None]:
    """Standard output and the exit code; None for what was ended because it took too long."""
    child = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        return child.communicate(timeout=limit)[0], child.returncode
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)  # it ends its own children
    try:
        return child.communicate(timeout=20)[0], None
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()[0], None


def judged(answer: Mapping[str, Any]) -> Row:
    """The outcome of a build, and the first error's code and words where it is not whole."""
    recipes = answer.get("recipes", [])
    artifacts = [a for one in recipes for a in one["artifacts"]]
    said = [*answer.get("diagnostics", []), *(d for one in recipes for d in one.get("diagnostics", []))]
    said += [d for a in artifacts for d in a.get("diagnostics", [])]
    made = [a for a in artifacts if a["status"] in ("built", "cached")]
    errors = [d for d in said if d["level"] == "error"]
    row = {"artifacts": len(artifacts), "made": len(made), "kept": kept(artifacts)}
    if artifacts and not errors and len(made) == len(artifacts):
        return {**row, "outcome": "whole", "code": "", "why": ""}
    first = errors[0] if errors else {"code": "not-built", "message": ""}
    outcome = "part" if made else "refused"
    proposed = [float(n) for d in errors for n in _ALLOWS.findall(d.get("hint") or "")]
    if proposed:
        row["allows"] = max(proposed)
    return {**row, "outcome": outcome, "code": first["code"], "why": " ".join(first["message"].split())}


def kept(artifacts: Iterable[Mapping[str, Any]]) -> int | None:
    """How many nodes the first fp16 file keeps in fp32; None without such a file."""
    for artifact in artifacts:
        if artifact.get("precision") == "fp16" and artifact["status"] in ("built", "cached"):
            return len((artifact.get("conversion") or {}).get("kept") or ())
    return None


# ---- the table ----------------------------------------------------------------------------------

_TOLD = {
    "whole": "whole",
    "torchscript": "whole with `exporter: torchscript`",
    "conditioned": "whole with the `conditioning` that the error proposes",
    "part": "in part",
    "refused": "refused",
}
_WHY = ("part", "refused")


def page(rows: Iterable[Row], notes: Mapping[str, str]) -> str:
    """The page: totals, then a line for each model."""
    rows = sorted(rows, key=lambda row: str(row["name"]))
    head = "\n| model | | kept | seconds |\n|---|---|---:|---:|\n"
    return PAGE + totals(rows) + head + "".join(line(row, notes.get(row["name"])) for row in rows)


def totals(rows: list[Row]) -> str:
    text = f"| | models | |\n|---|---:|---|\n| all | {len(rows)} | |\n"
    for outcome, told in _TOLD.items():
        of = [row for row in rows if row["outcome"] == outcome]
        if of:
            codes = Counter(row["code"] for row in of if row["code"] and outcome in _WHY)
            why = ", ".join(f"`{code}` {n}" for code, n in codes.most_common())
            text += f"| {told} | {len(of)} ({100 * len(of) / len(rows):.0f} %) | {why} |\n"
    return text


def line(row: Row, note: str | None = None) -> str:
    told = _TOLD[row["outcome"]]
    if row["outcome"] == "part":
        told += f", {row['made']} of {row['artifacts']}"
    if row["outcome"] in _WHY:
        told += f": `{row['code']}`, {note or short(row['why'])}"
    elif row["outcome"] == "conditioned" and note:
        told += f": {note}"
    number = "" if row.get("kept") is None else row["kept"]
    return f"| {row['name']} | {told} | {number} | {row['seconds']:.0f} |\n"


def short(words: str) -> str:
    """One line of a table's cell: no more than WORDS characters, nothing that ends the cell."""
    words = re.sub(r"\s+", " ", words).replace("|", "\\|")
    return words if len(words) <= WORDS else words[:WORDS].rsplit(" ", 1)[0] + " ..."


if __name__ == "__main__":
    sys.exit(main())
