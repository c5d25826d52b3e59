"""Say that the versions of the steps are right for their code as it is now: ``make seal``."""

from __future__ import annotations

from tests.seal import seals
from tests.seal.reach import Code

if __name__ == "__main__":
    code = Code(seals.ROOT)
    now = seals.sealed(code)
    before = seals.read() if seals.FILE.exists() else {"versions": {}, "definitions": {}}
    said = seals.told(before, seals.moved(before, code, now), now)
    seals.write(seals.composed(code, now))
    print(said or "the seal is right as it is")
