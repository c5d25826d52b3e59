"""Every code that a diagnostic can have, at which levels, and with which exit codes: one table.

Codes are for programs and for whoever greps, and never change. One that is not here does not
type-check where a diagnostic is made; each has its page in ``views/explanations``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

Level = Literal["error", "warning", "info"]
Exit = Literal[0, 1, 2, 3, 4, 130]

EXIT_OK: Final = 0
EXIT_STEP_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_PROOF_FAILED: Final = 3
EXIT_TOOLCHAIN: Final = 4
EXIT_INTERRUPTED: Final = 130

Code = Literal[
    "artifact-dropped",
    "artifact-removed",
    "backend-missing",
    "baked-axis",
    "branch-on-values",
    "cache-corrupt",
    "cache-exposed",
    "cache-unwritable",
    "changed-while-read",
    "changes-unknown",
    "data-converted",
    "data-not-finite",
    "engine-failed",
    "engine-unproven",
    "export-failed",
    "exporter-chosen",
    "extra-missing",
    "fp16-infeasible",
    "fp16-overflow",
    "fp16-underflow",
    "git-failed",
    "ill-conditioned",
    "import-failed",
    "inputs-mismatch",
    "int8-infeasible",
    "int8-unproven",
    "interface-changed",
    "lock-invalid",
    "lock-mismatch",
    "lock-missing",
    "lock-stale",
    "lock-unwritten",
    "lock-written",
    "nondeterministic-reference",
    "not-finite",
    "not-kept",
    "opset-mismatch",
    "outputs-mismatch",
    "outside-repository",
    "parity-failed",
    "precision-fallback",
    "precision-unguarded",
    "profile-invalid",
    "proof-weakened",
    "publish-failed",
    "range-narrowed",
    "recipe-invalid",
    "recipe-updated",
    "reference-failed",
    "remote-damaged",
    "remote-failed",
    "remote-untrusted",
    "report-unwritable",
    "review-unfinished",
    "runtime-doubled",
    "samples-reduced",
    "simplify-failed",
    "stateful-reference",
    "step-failed",
    "system-error",
    "tracer-missing",
    "undeclared-read",
    "unused-input",
    "vacuous-check",
    "value-clamped",
    "variants-exported",
    "worker-crashed",
]


@dataclass(frozen=True)
class Row:
    """A code: the levels at which it is told, and the exit codes that an error of it may end with.

    ``act`` says that it tells what a command did, and nothing of a result: it is told once, by that command.
    """

    code: Code
    levels: tuple[Level, ...]
    exits: tuple[Exit, ...] = ()
    act: bool = False


_ROWS = (
    Row("artifact-dropped", ("warning",)),
    Row("artifact-removed", ("info",), act=True),
    Row("backend-missing", ("error", "info"), (EXIT_TOOLCHAIN,)),
    Row("baked-axis", ("error",), (EXIT_STEP_FAILED, EXIT_PROOF_FAILED)),
    Row("branch-on-values", ("error", "warning"), (EXIT_STEP_FAILED,)),
    Row("cache-corrupt", ("warning",), act=True),
    Row("cache-exposed", ("error",), (EXIT_STEP_FAILED,)),
    Row("cache-unwritable", ("error", "warning"), (EXIT_STEP_FAILED,), act=True),
    Row("changed-while-read", ("warning",)),
    Row("changes-unknown", ("info",)),
    Row("data-converted", ("info",)),
    Row("data-not-finite", ("warning", "info")),
    Row("engine-failed", ("error",), (EXIT_STEP_FAILED,)),
    Row("engine-unproven", ("info",)),
    Row("export-failed", ("error",), (EXIT_STEP_FAILED,)),
    Row("exporter-chosen", ("info",)),
    Row("extra-missing", ("error",), (EXIT_TOOLCHAIN,)),
    Row("fp16-infeasible", ("error",), (EXIT_PROOF_FAILED,)),
    Row("fp16-overflow", ("error", "warning"), (EXIT_PROOF_FAILED,)),
    Row("fp16-underflow", ("warning",)),
    Row("git-failed", ("error",), (EXIT_USAGE,)),
    Row("ill-conditioned", ("error", "warning"), (EXIT_PROOF_FAILED,)),
    Row("import-failed", ("error",), (EXIT_STEP_FAILED, EXIT_USAGE)),
    Row("inputs-mismatch", ("error",), (EXIT_STEP_FAILED,)),
    Row("int8-infeasible", ("error",), (EXIT_PROOF_FAILED,)),
    Row("int8-unproven", ("warning",)),
    Row("interface-changed", ("warning",)),
    Row("lock-invalid", ("error",), (EXIT_USAGE,)),
    Row("lock-mismatch", ("error",), (EXIT_STEP_FAILED,)),
    Row("lock-missing", ("error",), (EXIT_STEP_FAILED, EXIT_USAGE)),
    Row("lock-stale", ("warning",)),
    Row("lock-unwritten", ("warning",), act=True),
    Row("lock-written", ("info",), act=True),
    Row("nondeterministic-reference", ("error",), (EXIT_PROOF_FAILED,)),
    Row("not-finite", ("error", "warning"), (EXIT_PROOF_FAILED,)),
    Row("not-kept", ("warning",)),
    Row("opset-mismatch", ("error", "info"), (EXIT_STEP_FAILED, EXIT_USAGE)),
    Row("outputs-mismatch", ("error", "warning"), (EXIT_STEP_FAILED,)),
    Row("outside-repository", ("error", "warning", "info"), (EXIT_USAGE,)),
    Row("parity-failed", ("error",), (EXIT_PROOF_FAILED,)),
    Row("precision-fallback", ("warning", "info")),
    Row("precision-unguarded", ("warning",)),
    Row("profile-invalid", ("error",), (EXIT_STEP_FAILED, EXIT_USAGE)),
    Row("proof-weakened", ("warning",)),
    Row("publish-failed", ("error",), (EXIT_STEP_FAILED,)),
    Row("range-narrowed", ("warning",)),
    Row("recipe-invalid", ("error", "warning"), (EXIT_USAGE,)),
    Row("recipe-updated", ("info",), act=True),
    Row("reference-failed", ("error",), (EXIT_STEP_FAILED,)),
    Row("remote-damaged", ("warning",)),
    Row("remote-failed", ("error", "warning"), (EXIT_STEP_FAILED, EXIT_TOOLCHAIN)),
    Row("remote-untrusted", ("warning", "info")),
    Row("report-unwritable", ("error",), (EXIT_STEP_FAILED,)),
    Row("review-unfinished", ("error",), (EXIT_USAGE,)),
    Row("runtime-doubled", ("warning",)),
    Row("samples-reduced", ("info",)),
    Row("simplify-failed", ("warning",)),
    Row("stateful-reference", ("error", "warning"), (EXIT_STEP_FAILED, EXIT_PROOF_FAILED)),
    Row("step-failed", ("error",), (EXIT_STEP_FAILED,)),
    Row("system-error", ("error",), (EXIT_STEP_FAILED,)),
    Row("tracer-missing", ("error",), (EXIT_TOOLCHAIN,)),
    Row("undeclared-read", ("error",), (EXIT_STEP_FAILED,)),
    Row("unused-input", ("warning",)),
    Row("vacuous-check", ("error", "warning"), (EXIT_PROOF_FAILED,)),
    Row("value-clamped", ("warning", "info")),
    Row("variants-exported", ("info",)),
    Row("worker-crashed", ("error", "warning"), (EXIT_STEP_FAILED,)),
)

CATALOGUE: Mapping[Code, Row] = MappingProxyType({row.code: row for row in _ROWS})
CODES: tuple[Code, ...] = get_args(Code)
