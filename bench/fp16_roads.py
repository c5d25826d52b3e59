"""Every road to half precision on the recipes of configs/, as a Markdown table.

For each recipe: what ``method`` gives (relative L2 of the worst output against PyTorch, by the
simulation on a CPU), how many of the nodes that compute with floats stay in fp32, and the size of
the file. ``mixed`` is asked for 30 % less error than ``convert`` gives.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from modelbuild.inspection import inspect_file

CONFIGS = Path(__file__).parent.parent / "configs"
RECIPES = ("resnet50", "bert_base", "vit_base", "lstm_tagger", "segmentation", "detector")
ROADS: dict[str, tuple[str, dict[str, Any]]] = {
    "fp16 convert": ("fp16", {"method": "convert"}),
    "fp16 half": ("fp16", {"method": "half"}),
    "fp16 autocast": ("fp16", {"method": "autocast"}),
    "fp16 mixed": ("fp16", {"method": "mixed"}),
    "bf16 convert": ("bf16", {"method": "convert"}),
}
LOOSE = {"relative_l2": 0.5}
LESS = 0.7


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "recipes", nargs="*", metavar="RECIPE", help=f"of {', '.join(RECIPES)}; all by default"
    )
    options = parser.parse_args()
    print("| recipe | road | relative L2 | nodes in fp32 | size |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.recipes or RECIPES:
            error: float | None = None
            for road in ROADS:
                row, found = measured(name, road, error, Path(folder))
                error = found if road == "fp16 convert" else error
                print(row, flush=True)
    return 0


def measured(name: str, road: str, plain: float | None, folder: Path) -> tuple[str, float | None]:
    """A row of the table, and the error in it."""
    precision, knobs = ROADS[road]
    tolerance = LOOSE
    if knobs["method"] == "mixed":
        if plain is None:
            return f"| {name} | {road} | - | - | - |", None
        tolerance = {"relative_l2": LESS * plain}
    recipe = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    for key in ("static", "engines"):
        recipe.pop(key, None)
    recipe["name"] = f"{name}-{road.replace(' ', '-')}"
    recipe["precision"] = {precision: {**knobs, "tolerance": tolerance}}
    path = folder / f"{recipe['name']}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    command = [sys.executable, "-m", "modelbuild", "build", str(path), "--format", "json"]
    command += ["--cache-dir", str(folder / "cache"), "--out", str(folder / "out")]
    done = subprocess.run(command, cwd=CONFIGS, capture_output=True, text=True)
    (artifact,) = json.loads(done.stdout)["recipes"][0]["artifacts"]
    if not artifact["path"]:
        found = json.loads(done.stdout)["recipes"][0]["diagnostics"] + artifact["diagnostics"]
        said = next(d for d in found if d["level"] == "error")
        return f"| {name} | {road} | `{said['code']}`: {said['message'].partition(';')[0]} | | |", None
    info = inspect_file(Path(artifact["path"]))
    nodes = info["half"]["nodes"] if info["half"] else {"half": 0, "all": info["nodes"]}
    error = max(o["relative_l2"] for o in artifact["parity"]["outputs"].values())
    cells = (
        f"{error:.2e} | {nodes['all'] - nodes['half']} of {nodes['all']} | {artifact['bytes'] / 1e6:.1f} MB"
    )
    return f"| {name} | {road} | {cells} |", error


if __name__ == "__main__":
    sys.exit(main())
