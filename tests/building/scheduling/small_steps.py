"""Steps for the tests of the loop; the workers import them by this module's name."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, Refusal, StepError
from modelbuild.steps.base import Outcome, Step


@dataclass(frozen=True)
class Small(Step):
    """Write ``text``, or random bytes, and what it was given.

    Before that, come to a ``meeting``: a folder in which as many steps as its name says have to be
    at the same time. Steps that run one after the other never meet, and fail.
    """

    kind: ClassVar[str] = "small"

    text: str = ""
    meeting: str | None = None
    mebibytes: int = 0
    gpu: bool = False

    @property
    def on_gpu(self) -> bool:
        return self.gpu

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        held = bytearray(os.urandom(1 << 20)) * self.mebibytes
        if self.meeting is not None:
            _meet(Path(self.meeting))
        text = os.urandom(8).hex() if self.text == "random" else self.text
        for role, folder in sorted(given.items()):
            text += f" {role}({(folder / 'text').read_text()})"
        (out / "text").write_text(text)
        return Outcome(data={"held": len(held)})


@dataclass(frozen=True)
class Refusing(Step):
    """Find something wrong with the model, every time; a line in ``ran`` says that it has run."""

    kind: ClassVar[str] = "refusing"

    ran: str
    lasting: bool = True

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        with Path(self.ran).open("a") as file:
            file.write("ran\n")
        raise Refusal(Diagnostic("baked-axis", "the batch is fixed"), {"lasting": self.lasting})


@dataclass(frozen=True)
class GoingOn(Step):
    """Do without what fails for as long as ``trouble`` is there, and say whether it did."""

    kind: ClassVar[str] = "going on"

    trouble: str

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        with passing.gone_on_after():
            if Path(self.trouble).exists():
                raise MemoryError("no room")
        (out / "text").write_text(f"without: {Path(self.trouble).exists()}")
        return Outcome()


def _meet(folder: Path, patience: float = 10.0) -> None:
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + patience
    while len(list(folder.iterdir())) < int(folder.name):
        if time.monotonic() > end:
            raise StepError(Diagnostic("step-failed", "nobody came"))
        time.sleep(0.01)
