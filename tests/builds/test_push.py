"""``modelbuild cache push`` and ``keygen``, with a folder as the remote."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RECIPE, VARIANTS, Answer, Project

pytest.importorskip("obstore")
KEY = "MODELBUILD_SIGNING_KEY"


def trusting(project: Project, key: str, *more: str) -> None:
    """Write a project file whose remote is a folder beside it; ``key`` as TOML has it."""
    lines = ["[tool.modelbuild.remote]", f'url = "file://{project.folder}/remote"', f"trust = [{key}]", *more]
    project.write("pyproject.toml", "\n".join([*lines, ""]))


def keyed(project: Project, name: str = "key.pem") -> str:
    """Make a key, and sign with it. Gives the public one."""
    project.environment[KEY] = str(project.folder / name)
    answer = project.run("cache", "keygen", "-o", name, "--format", "json")
    assert answer.code == 0
    return str(answer.report["public"])


@pytest.fixture
def shared(warm: Project) -> Project:
    """A project that is built, with a key that its remote trusts."""
    warm.recipe(*VARIANTS)
    (warm.folder / "remote").mkdir()
    trusting(warm, f'"{keyed(warm)}"')
    return warm


def pushed(project: Project, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What a push tells of the one recipe."""
    answer = project.run("cache", "push", "net.yaml", "--format", "json", *arguments)
    assert answer.code == code, answer.stderr
    assert answer.report["ok"] is (code == 0)
    return answer.report["recipes"][0]


def remote_files(project: Project) -> dict[str, bytes]:
    """What lies in the remote, by its name there."""
    root = project.folder / "remote"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def refused(project: Project, *arguments: str, code: int = 2) -> str:
    """What is said of a push that sends nothing."""
    before = remote_files(project)
    answer: Answer = project.run("cache", "push", *(arguments or ("net.yaml",)))
    assert answer.code == code
    assert remote_files(project) == before
    return answer.stderr


# ---- a key -------------------------------------------------------------------------------------


def test_a_new_key_is_for_its_owner_alone_and_its_public_half_is_shown_as_it_is_to_be_written(
    project: Project,
) -> None:
    answer = project.run("cache", "keygen")
    assert answer.code == 0
    assert stat.S_IMODE((project.folder / "signing-key.pem").stat().st_mode) == 0o600
    shown = "\n".join(line.strip() for line in answer.stdout.splitlines()[-2:])
    (key,) = tomllib.loads(shown)["tool"]["modelbuild"]["remote"]["trust"]
    assert key.startswith("ed25519:")
    assert "PRIVATE" not in answer.stdout + answer.stderr


def test_a_key_is_never_written_over(project: Project) -> None:
    keyed(project)
    before = (project.folder / "key.pem").read_bytes()
    answer = project.run("cache", "keygen", "-o", "key.pem")
    assert answer.code == 2
    assert "key.pem is there, and a key is never written over" in answer.stderr
    assert (project.folder / "key.pem").read_bytes() == before


def test_a_key_does_not_go_where_a_link_leads(project: Project) -> None:
    (project.folder / "link.pem").symlink_to("elsewhere.pem")
    assert project.run("cache", "keygen", "-o", "link.pem").code == 2
    assert not (project.folder / "elsewhere.pem").exists()


def test_openssl_reads_the_key(project: Project) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    keyed(project)
    command = ["openssl", "pkey", "-in", "key.pem", "-noout", "-text"]
    said = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=True).stdout
    assert said.startswith("ED25519 Private-Key")


# ---- what goes up ------------------------------------------------------------------------------


def test_every_stored_result_goes_up_with_its_files_and_a_second_push_sends_nothing(shared: Project) -> None:
    first = pushed(shared)
    assert first["status"] == "ok"
    assert first["sent"] == first["results"] > 5
    assert (first["there"], first["stale"], first["damaged"]) == (0, [], [])
    there = remote_files(shared)
    blobs = {name: data for name, data in there.items() if name.startswith("v1/blobs/")}
    assert len(blobs) == first["files"]
    assert sum(map(len, blobs.values())) == first["bytes"]
    assert len(there) == len(blobs) + first["sent"]
    second = pushed(shared)
    assert (second["sent"], second["files"], second["there"]) == (0, 0, first["sent"])
    assert remote_files(shared) == there


def test_another_key_signs_the_same_results_beside_the_first_and_sends_no_file_again(shared: Project) -> None:
    first = pushed(shared)
    other = keyed(shared, "other.pem")
    trusting(shared, f'"{other}"')
    second = pushed(shared)
    assert (second["sent"], second["files"]) == (first["sent"], 0)


def test_with_another_salt_the_same_results_lie_under_other_keys(shared: Project) -> None:
    first = pushed(shared)
    before = {name for name in remote_files(shared) if "ledger" in name}
    file = shared.folder / "pyproject.toml"
    file.write_text(file.read_text() + 'salt = "secret"\n')
    assert pushed(shared)["sent"] == first["sent"]
    after = {name for name in remote_files(shared) if "ledger" in name} - before
    assert {Path(name).parts[3] for name in before}.isdisjoint(Path(name).parts[3] for name in after)


def test_files_on_the_way_to_what_is_published_may_stay_here_and_come_later(shared: Project) -> None:
    part = pushed(shared, "--published-only")
    assert part["sent"] == part["results"]
    assert part["bare_bytes"] > 0 == part["between_bytes"]
    names = [name for name in remote_files(shared) if name.endswith(".bare.json")]
    assert names
    assert pushed(shared, "--published-only")["sent"] == 0
    rest = pushed(shared)
    assert (rest["sent"], rest["bytes"]) == (len(names), part["bare_bytes"])
    assert rest["between_bytes"] == rest["bytes"]


def test_a_key_for_some_steps_sends_these_alone(shared: Project) -> None:
    key = keyed(shared, "worker.pem")
    trusting(shared, f'{{key = "{key}", steps = ["verify"]}}')
    told = pushed(shared)
    assert 0 < told["sent"] == told["results"] - told["withheld"]
    said = shared.run("cache", "push", "net.yaml").stdout
    assert f"{told['withheld']} that this key may not sign left out" in said


def test_the_recipes_of_the_project_file_are_meant_where_none_is_named(shared: Project) -> None:
    file = shared.folder / "pyproject.toml"
    file.write_text('[tool.modelbuild]\nrecipes = ["net.yaml"]\n' + file.read_text())
    answer = shared.run("cache", "push")
    assert answer.code == 0
    assert answer.stdout.startswith("net.yaml: ")


@pytest.mark.cold
def test_a_push_imports_neither_torch_nor_onnx_nor_the_model(shared: Project) -> None:
    program = (
        "import sys; from modelbuild.cli.main import main; code = main(['cache', 'push', 'net.yaml']); "
        "print(code, sorted({'torch', 'onnx', 'net', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shared.folder,
        env=shared.environ(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


# ---- what does not -----------------------------------------------------------------------------


def test_what_is_stale_is_told_and_the_rest_goes_up(shared: Project) -> None:
    shared.recipe(*VARIANTS, "simplify: false")
    told = pushed(shared)
    assert told["sent"] > 0
    assert any(row["reason"] for row in told["stale"])
    assert "not built, not sent: " in shared.run("cache", "push", "net.yaml").stdout


def test_a_recipe_of_which_nothing_is_built_is_a_failure(shared: Project) -> None:
    shared.write("net.yaml", RECIPE.replace("net:Net", "net:Other"))
    assert pushed(shared, code=1)["results"] == 0
    assert "net.yaml: nothing of it is built" in shared.run("cache", "push", "net.yaml").stdout


def test_a_damaged_object_is_never_sent(shared: Project) -> None:
    (stored,) = shared.folder.glob("cache/objects/*/*/net.fp16.onnx")
    stored.chmod(0o644)
    data = stored.read_bytes()
    stored.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    told = pushed(shared, code=1)
    assert told["damaged"] == [f"sha256:{stored.parent.name}"]
    sent = remote_files(shared)
    assert stored.read_bytes() not in sent.values()
    names = [name for name, text in sent.items() if "ledger" in name and b"net.fp16.onnx" in text]
    assert names == []
    assert "damaged, not sent: object sha256:" in shared.run("cache", "push", "net.yaml").stdout


def test_without_a_key_nothing_is_sent(shared: Project) -> None:
    del shared.environment[KEY]
    assert f"a push signs what it sends, and {KEY} does not say with which key" in refused(shared)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nowhere.pem", "No such file or directory"),
        ("net.py", "it cannot be read as one"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "it cannot be read as one"),
    ],
)
def test_what_is_no_key_is_told_and_not_quoted(shared: Project, named: str, said: str) -> None:
    shared.environment[KEY] = named
    told = refused(shared)
    assert f"{KEY} is no key to sign with: {said}" in told
    assert "AAAA" not in told


def test_a_key_may_be_its_text(shared: Project) -> None:
    shared.environment[KEY] = (shared.folder / "key.pem").read_text()
    assert pushed(shared)["sent"] > 0


def test_a_key_that_nobody_trusts_sends_nothing(shared: Project) -> None:
    public = keyed(shared, "stranger.pem")
    assert f"nobody would take what this key signs: {public} is not in `trust`" in refused(shared)


def test_without_a_remote_there_is_nowhere_to_send_it(shared: Project) -> None:
    os.unlink(shared.folder / "pyproject.toml")
    assert "no project file names a remote" in refused(shared)


def test_a_wrong_recipe_sends_nothing(shared: Project) -> None:
    shared.write("wrong.yaml", "model: 3\n")
    assert "error[recipe-invalid]: wrong.yaml" in refused(shared, "net.yaml", "wrong.yaml")


def test_a_remote_that_cannot_be_written_is_one_clear_error(shared: Project) -> None:
    shutil.rmtree(shared.folder / "remote")
    shared.write("remote", "a file")
    answer = shared.run("cache", "push", "net.yaml")
    assert answer.code == 1
    assert answer.stderr.count("error[remote-failed]: ") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("push", "--max-age", "3d"), "`cache push` takes no limit"),
        (("push", "--remote"), "`cache push` takes no --remote"),
        (("stats", "net.yaml"), "`cache stats` takes no recipes"),
        (("verify", "--published-only"), "`cache verify` takes no --published-only"),
        (("gc", "--max-age", "3d", "-o", "x"), "`cache gc` takes no --output"),
        (("keygen", "net.yaml"), "`cache keygen` takes no recipes"),
        (("gc", "--remote"), "gc needs a limit"),
        (("gc", "--remote", "--max-size", "1GiB"), "gc --remote takes no --max-size"),
    ],
)
def test_options_of_another_job_are_told(project: Project, arguments: tuple[str, ...], said: str) -> None:
    answer = project.run("cache", *arguments)
    assert answer.code == 2
    assert said in answer.stderr
