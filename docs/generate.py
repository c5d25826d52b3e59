"""Write the pages that are made out of the code: ``make docs``."""

from __future__ import annotations

from pathlib import Path

from modelbuild.recipe.reference import reference
from modelbuild.views import explanations

HERE = Path(__file__).parent

DIAGNOSTICS = """\
# Diagnostics

Everything that modelbuild has to say carries a code, a sentence, a hint, and a place where there is
one. On a terminal:

```
error[recipe-invalid]: configs/yolo.yaml:14:1: unknown key `dynamic_axis`
   14 | dynamic_axis: {batch: {min: 1, opt: 3, max: 8}}
      | ^^^^^^^^^^^^
hint: did you mean `dynamic_axes`?
```

With `--format json` the same are objects: `code`, `level`, `message`, `hint`, `where`. Codes do not
change between versions; sentences may. An *error* stops what it is about; a *warning* or *info* does
not. The exit code is that of the worst error: 1 a step failed, 2 the recipe or the command line is
wrong, 3 built but not proven, 4 a toolchain that was asked for is missing.

An error of a build has a place, too, in `where`, in GitHub's annotation and on the terminal, also with
`-q`: the line of the recipe that asked for what failed (a tolerance, a static variant, an engine,
`import`), as the recipe is written now. One that names a node has the line of the model's source that
the node comes from instead (`net.py:42`, from the recipe's folder). Where the user's code raised, or died,
the sentence ends with its line: `(net.py:42 in forward)`.

Each code has a page that says what it means, why it happens and what to do; where you met it,
`modelbuild explain` prints it:

```sh
modelbuild explain baked-axis
```

| code | level | what it means |
|---|---|---|
"""


def pages() -> dict[str, str]:
    """The generated pages: file name -> text."""
    index = DIAGNOSTICS + "".join(map(_row, explanations.codes()))
    return {"recipe.md": reference(), "diagnostics.md": index}


def _row(code: str) -> str:
    page = explanations.explain(code)
    return f"| [`{code}`](../modelbuild/views/explanations/{code}.md) | {page.level} | {page.about} |\n"


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
        print(f"wrote {HERE.name}/{name}")
