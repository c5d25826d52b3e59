"""Reads that no key sees, found by the kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modelbuild.base.errors import RecipeError, ToolchainError
from modelbuild.setup import auditing
from modelbuild.setup.auditing import strace
from tests.conftest import TINY, Project


def _why_not() -> str | None:
    try:
        strace.command(Path(os.devnull))
    except ToolchainError as error:
        return error.diagnostics[0].message
    return None


WHY_NOT = _why_not()
traced = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

# ---- what strace says --------------------------------------------------------------------------

READ = '41 openat(AT_FDCWD</w>, "a.bin", O_RDONLY|O_CLOEXEC) = 3</w/a.bin>\n'


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param(READ, {"/w/a.bin": None}, id="read"),
        pytest.param('41 open("a.bin", O_RDONLY) = 3</w/a.bin>\n', {"/w/a.bin": None}, id="old-call"),
        pytest.param(
            '41 openat2(AT_FDCWD</w>, "a.bin", {flags=O_RDONLY|O_CLOEXEC, resolve=0}, 24) = 3</w/a.bin>\n',
            {"/w/a.bin": None},
            id="new-call",
        ),
        pytest.param(READ.replace("O_RDONLY", "O_RDWR"), {"/w/a.bin": None}, id="read-and-write"),
        pytest.param(READ.replace("O_RDONLY", "O_RDWR|O_CREAT"), {"/w/a.bin": None}, id="made-if-missing"),
        pytest.param(READ.replace("O_RDONLY", "O_WRONLY"), {}, id="write"),
        pytest.param(READ.replace("O_RDONLY", "O_RDWR|O_CREAT|O_TRUNC"), {}, id="emptied"),
        pytest.param(READ.replace("O_RDONLY", "O_RDWR|O_CREAT|O_EXCL"), {}, id="made"),
        pytest.param(READ.replace("O_RDONLY", "O_RDONLY|O_DIRECTORY"), {}, id="listed"),
        pytest.param(READ.replace("O_RDONLY", "O_PATH"), {}, id="only-found"),
        pytest.param(READ.replace("3</w/a.bin>", "-1 ENOENT (No such file)"), {}, id="not-there"),
        pytest.param(READ.replace("O_RDONLY", "O_WRONLY|O_CREAT|O_TRUNC") + READ, {}, id="written-first"),
        pytest.param('41 creat("a.bin", 0666) = 3</w/a.bin>\n' + READ, {}, id="created-first"),
        pytest.param(
            READ + READ.replace("O_RDONLY", "O_WRONLY|O_TRUNC"),
            {"/w/a.bin": None},
            id="read-and-then-written",
        ),
        pytest.param(
            '41 openat(AT_FDCWD</w>, "a.bin", O_RDONLY <unfinished ...>\n'
            '42 openat(AT_FDCWD</w>, "b", O_WRONLY|O_TRUNC <unfinished ...>\n'
            "41 <... openat resumed>) = 3</w/a.bin>\n42 <... openat resumed>) = 3</w/b>\n",
            {"/w/a.bin": None},
            id="two-at-once",
        ),
        pytest.param("41 <... openat resumed>) = 3</w/a.bin>\n", {}, id="end-without-its-beginning"),
        pytest.param(
            '41 openat(3</w/\\74\\">, "O_WRONLY, \\", O_WRONLY", O_RDONLY) '
            "= 4</w/) = 5\\74a\\n\\303\\251\\\\.bin>\n",
            {"/w/) = 5<a\né\\.bin": None},
            id="odd-names",
        ),
        pytest.param(
            READ.replace("</w/a.bin>", "</w/\\377>"), {os.fsdecode(b"/w/\xff"): None}, id="not-utf-8"
        ),
        pytest.param(READ.replace("a.bin>", "a.bin>(deleted)"), {"/w/a.bin": None}, id="deleted"),
        pytest.param(READ.replace("3</w/a.bin>", "3<socket:[12]>"), {"socket:[12]": None}, id="no-file"),
        pytest.param(
            '40 execve("/bin/python", ["python"], 0x1 /* 9 vars */) = 0\n'
            "40 vfork( <unfinished ...>\n"
            '41 execve("/no/cat", ["cat"], 0x1 /* 9 vars */) = -1 ENOENT (No such file or directory)\n'
            '41 execve("/bin/cat", ["cat", "execve(\\"x\\") = 0"], 0x1 /* 9 vars */ <unfinished ...>\n'
            "40 <... vfork resumed>) = 41\n41 <... execve resumed>) = 0\n" + READ,
            {"/w/a.bin": "/bin/cat"},
            id="by-another-program",
        ),
        pytest.param(
            '40 execve("/bin/python", ["python"], 0x1 /* 9 vars */) = 0\n'
            "40 clone(child_stack=NULL, flags=SIGCHLD, child_tidptr=0x7f) = 39\n"
            '39 execve("/bin/sh", ["sh"], 0x1 /* 9 vars */) = 0\n'
            "39 clone3({flags=CLONE_VM, exit_signal=SIGCHLD} => {parent_tid=[41]}, 88) = 41\n" + READ,
            {"/w/a.bin": "/bin/sh"},
            id="by-a-fork-of-another-program",
        ),
        pytest.param(
            '40 execve("/bin/python", ["python"], 0x1 /* 9 vars */) = 0\n40 fork() = 41\n' + READ,
            {"/w/a.bin": None},
            id="by-a-fork-of-its-own",
        ),
        pytest.param(
            "40 clone(flags=SIGCHLD) = 41\n41 fork() = 40\n" + READ, {"/w/a.bin": None}, id="a-circle"
        ),
        pytest.param("\n41\n41 +++ exited with 0 +++\n41 open", {}, id="other-lines"),
    ],
)
def test_reads_are_told_from_everything_else(text: str, read: dict[str, str | None]) -> None:
    assert strace.opened(text.splitlines(keepends=True)).read == read


@traced
def test_what_a_real_tracer_writes_is_understood(tmp_path: Path) -> None:
    odd = os.fsdecode(b"a 'q' \"Q\"\n<\xff>) = 3")
    (tmp_path / odd).write_text("x")
    (tmp_path / "link").symlink_to(odd)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "in.txt").write_text("x")
    code = (
        "import os, subprocess, tempfile; open('link').read(); os.chdir('sub'); open('../new', 'w').close();"
        "open('../new').read(); os.rename('../new', '../moved'); os.listdir('.');"
        "subprocess.run(['sh', '-c', 'cat in.txt; (cat ../moved)'])"
    )
    out = tmp_path / "trace"
    subprocess.run([*strace.command(out), sys.executable, "-S", "-c", code], cwd=tmp_path, check=True)
    opened = strace.opened(out.read_text(encoding="ascii").splitlines())
    mine = {p: by for p, by in opened.read.items() if p.startswith(str(tmp_path))}
    cat = os.path.realpath(str(shutil.which("cat")))
    assert {p: by and os.path.realpath(by) for p, by in mine.items()} == {
        str(tmp_path / odd): None, str(tmp_path / "sub" / "in.txt"): cat, str(tmp_path / "moved"): cat,
    }  # fmt: skip
    assert str(tmp_path / "new") in opened.written


def test_a_machine_without_a_tracer_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolchainError) as caught:
        strace.command(Path("trace"))
    (told,) = caught.value.diagnostics
    assert (told.code, told.message) == ("tracer-missing", "strace is not installed")
    assert (told.hint or "").startswith("install it: `apt-get install strace`")
    assert caught.value.exit_code == 4


def test_a_tracer_that_may_not_trace_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "strace"
    fake.write_text("#!/bin/sh\necho 'strace: PTRACE_TRACEME: Operation not permitted' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError) as caught:
        strace.command(Path("trace"))
    (told,) = caught.value.diagnostics
    assert told.message == "strace may not trace here: strace: PTRACE_TRACEME: Operation not permitted"
    assert "--cap-add SYS_PTRACE" in (told.hint or "")


# ---- recipes -----------------------------------------------------------------------------------

NATIVE = """\
import ctypes, os, subprocess, tempfile
import torch
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))


def natively(name):
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream = libc.fopen(os.path.join(HERE, name).encode(), b"r")
    assert stream
    libc.fclose(ctypes.c_void_p(stream))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 3)
        natively("data/native.bin")
        natively("net.egg-info/entry_points.txt")
        natively("data/declared.bin")
        open(os.path.join(HERE, "data/seen.bin")).read()
        subprocess.run(["cat", os.path.join(HERE, "data/by cat.txt")], check=True)
        with open(os.path.join(HERE, "scratch.tmp"), "w") as file:
            file.write("made")
        os.rename(os.path.join(HERE, "scratch.tmp"), os.path.join(HERE, "made.txt"))
        natively("made.txt")
        with tempfile.NamedTemporaryFile() as file:
            natively(file.name)

    def forward(self, x):
        natively("../late.bin")
        return self.first(x)
"""


@traced
@pytest.mark.slow
def test_every_read_that_no_key_sees_is_told_and_no_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = project.folder / "here"
    for name in ("native.bin", "declared.bin", "seen.bin", "by cat.txt"):
        project.write(f"here/data/{name}", "x")
    project.write("late.bin", "x")
    project.write("here/net.egg-info/entry_points.txt", "")  # that of an editable distribution
    project.write("here/net.py", NATIVE)
    lines = project.recipe().read_text().replace('"net:Net"}', '"net:Net", files: [data/d*]}')
    project.write("here/net.yaml", lines)
    monkeypatch.chdir(project.folder)
    (result,) = auditing.audit(["here/net.yaml"]).recipes
    assert (result.recipe, result.name, result.status, result.exit_code) == (
        "here/net.yaml", "net", "failed", 1,
    ), result  # fmt: skip
    said = "and no key sees it: a change of it would rebuild nothing"
    assert [(d.code, d.where, d.message, d.hint) for d in result.diagnostics] == [
        ("undeclared-read", "data/by cat.txt", f"it is read by `cat`, {said}",
         "add it to the recipe: `model: {files: [data/by cat.txt]}`"),
        ("undeclared-read", "data/native.bin", f"it is read, {said}",
         "add it to the recipe: `model: {files: [data/native.bin]}`"),
        ("undeclared-read", "../late.bin", f"it is read, {said}",
         "add it to the recipe: `model: {files: [../late.bin]}`"),
    ]  # fmt: skip
    left = {p.name for p in here.iterdir()} - {"__pycache__"}
    assert left == {"data", "made.txt", "net.egg-info", "net.py", "net.yaml"}
    assert sorted(p.name for p in project.folder.iterdir() if p.is_dir()) == ["here"]


@traced
@pytest.mark.parametrize(
    ("model", "code", "exit_code"),
    [
        pytest.param("import nothing_of_this_name\n", "import-failed", 1, id="no-model"),
        pytest.param("import os\nos.kill(os.getpid(), 11)\n", "worker-crashed", 1, id="it-dies"),
        pytest.param(TINY.replace("return self", "import os; os._exit(3); return self"), "worker-crashed", 1,
                     id="it-dies-later"),
        pytest.param(TINY.replace("return self", "return 1 + self").replace("torch.relu", "torch.dropout"),
                     "reference-failed", 1, id="it-does-not-run"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_a_model_that_fails_is_told_and_not_what_it_reads(
    project: Project, monkeypatch: pytest.MonkeyPatch, model: str, code: str, exit_code: int
) -> None:
    project.write("net.py", model)
    monkeypatch.chdir(project.folder)
    result = auditing.audit(["net.yaml"])
    assert [d.code for r in result.recipes for d in r.diagnostics] == [code]
    assert result.exit_code == exit_code


@traced
@pytest.mark.slow
def test_a_clean_recipe_has_nothing_to_declare_though_another_is_wrong(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("bad.yaml", "model: 1\n")
    project.recipe("precision: {fp32: {}, fp16: {method: half}}")
    monkeypatch.chdir(project.folder)
    result = auditing.audit(["bad.yaml", "net.yaml"])
    assert [(r.name, r.status, r.exit_code) for r in result.recipes] == [
        ("bad", "failed", 2),
        ("net", "ok", 0),
    ]
    with pytest.raises(RecipeError):
        auditing.audit(["none.yaml"])


@traced
@pytest.mark.slow
def test_a_process_that_the_model_leaves_behind_does_not_hold_the_audit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = "import subprocess\nsubprocess.Popen(['sleep', '60'], start_new_session=True)\n"
    project.write("net.py", left + TINY)
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(auditing, "_PATIENCE", 1.0)
    assert auditing.audit(["net.yaml"]).exit_code == 0
