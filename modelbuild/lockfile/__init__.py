"""The lock file beside a recipe: what its build gives, to be reviewed and to be held to.

``configs/resnet50.lock.yaml`` is written by ``build --lock``, and ``build --locked`` publishes
nothing that differs from it. What it says holds on another machine and in another folder: digests
and versions are compared; errors and headroom, whose last digits depend on the CPU, are for people.

``values`` has the lock; ``composing`` makes one from a build, ``comparing`` tells two apart;
``writing`` and ``reading`` are its text, ``files`` where that lies.
"""

from modelbuild.lockfile.comparing import differences, mismatch
from modelbuild.lockfile.composing import compose, row
from modelbuild.lockfile.files import load, place, save
from modelbuild.lockfile.values import Lock, Onnx, Worst

__all__ = [
    "Lock",
    "Onnx",
    "Worst",
    "compose",
    "differences",
    "load",
    "mismatch",
    "place",
    "row",
    "save",
]
