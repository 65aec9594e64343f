"""The launcher: it makes the environment once, swaps it in whole, and never takes away one that works.

The installer is a stand-in on the path (`uv`), so that these tests need no Internet; that the real one
works is shown by every run of `./hedgerow test` from a fresh clone.
"""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE_UV = """#!/bin/sh
# Stands in for uv: makes a directory whose python repeats its arguments, or fails as an installer does.
echo "$@" >> "$UV_LOG"
if [ "$1" = venv ]; then
    for last; do :; done
    mkdir -p "$last/bin"
    printf '#!/bin/sh\\necho ran "$@"\\n' > "$last/bin/python"
    chmod +x "$last/bin/python"
elif [ -n "$UV_FAILS" ]; then
    echo "resolving ..."
    echo "error: no route to the package index"
    exit 2
fi
"""


@dataclass
class Project:
    """A clone with the launcher in it, and a stand-in for the installer."""

    root: Path
    tools: Path

    @property
    def steps(self) -> list[str]:
        """What the installer was asked for."""
        log = self.tools / "log"
        return log.read_text().splitlines() if log.exists() else []

    def run(
        self, *arguments: str, fails: bool = False, script: Path | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the launcher."""
        environment = {
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "UV_LOG": str(self.tools / "log"),
            "UV_FAILS": "1" if fails else "",
        }
        return subprocess.run(
            [sys.executable, str(script or self.root / "hedgerow"), *arguments],
            env=environment,
            cwd=cwd or self.root,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh clone."""
    root, tools = tmp_path / "clone", tmp_path / "tools"
    root.mkdir()
    tools.mkdir()
    (root / "hedgerow").write_text((ROOT / "hedgerow").read_text("utf-8"), "utf-8")
    (root / "pyproject.toml").write_text("[project]\nname = 'hedgerow'\n")
    uv = tools / "uv"
    uv.write_text(FAKE_UV)
    uv.chmod(0o755)
    return Project(root, tools)


@pytest.fixture
def launcher() -> ModuleType:
    """The launcher as a module."""
    loader = importlib.machinery.SourceFileLoader("launcher", str(ROOT / "hedgerow"))
    spec = importlib.util.spec_from_loader("launcher", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_first_run_makes_the_environment_and_later_ones_do_not(project: Project) -> None:
    assert project.run("status", "--json").stdout == "ran -P -m node.cli status --json\n"
    made = project.steps
    assert [step.split()[0] for step in made] == ["venv", "pip"]
    again = project.run("status")
    assert (again.stdout, again.stderr) == ("ran -P -m node.cli status\n", "")
    assert project.steps == made


def test_a_folder_that_is_called_like_a_package_of_ours_changes_nothing(
    project: Project, tmp_path: Path
) -> None:
    assert project.run("status", cwd=tmp_path).stdout.startswith("ran -P "), "python does not look around it"


def test_it_works_from_any_directory_and_through_a_link(project: Project, tmp_path: Path) -> None:
    link = tmp_path / "hedgerow-here"
    link.symlink_to(project.root / "hedgerow")
    assert project.run("status", script=link, cwd=tmp_path).stdout == "ran -P -m node.cli status\n"
    assert (project.root / ".venv").is_symlink()


def test_tests_are_run_with_the_extra_they_need_and_it_is_kept(project: Project) -> None:
    project.run("status")
    assert project.run("test", "tests/sync").stdout == f"ran {project.root}/tests/run.py tests/sync\n"
    assert project.steps[-1].endswith("[test]")
    count = len(project.steps)
    assert project.run("status").stdout == "ran -P -m node.cli status\n"
    assert len(project.steps) == count


def test_a_changed_declaration_makes_a_new_environment_beside_the_old_one(project: Project) -> None:
    project.run("status")
    before = (project.root / ".venv").resolve()
    (project.root / "pyproject.toml").write_text("[project]\nname = 'hedgerow'\nversion = '2'\n")
    assert project.run("status").returncode == 0
    assert (project.root / ".venv").resolve() != before
    assert before.is_dir(), "a node may still be running from it"


def test_without_internet_the_old_environment_runs_on_with_a_warning(project: Project) -> None:
    project.run("status")
    before = (project.root / ".venv").resolve()
    (project.root / "pyproject.toml").write_text("[project]\nname = 'hedgerow'\nversion = '2'\n")
    ran = project.run("status", fails=True)
    assert (ran.returncode, ran.stdout) == (0, "ran -P -m node.cli status\n")
    assert "so the one at hand is used: error: no route to the package index" in ran.stderr
    assert (project.root / ".venv").resolve() == before


def test_a_first_run_that_fails_says_why_and_leaves_nothing(project: Project) -> None:
    ran = project.run("demo", fails=True)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        "hedgerow: the environment could not be made: error: no route to the package index. "
        "Without Internet: ./hedgerow --wheels DIR demo"
    )
    assert not [path for path in project.root.glob(".venv*") if path.is_dir()]


def test_an_old_environment_without_the_tests_tools_does_not_stand_in_for_one_with_them(
    project: Project,
) -> None:
    project.run("status")
    assert project.run("test", fails=True).returncode == 1


def test_an_environment_that_was_a_directory_becomes_a_link(project: Project) -> None:
    (project.root / ".venv" / "bin").mkdir(parents=True)
    assert project.run("status").returncode == 0
    assert (project.root / ".venv").is_symlink()


def test_wheels_are_installed_from_their_directory_alone(project: Project, tmp_path: Path) -> None:
    ran = project.run("--wheels", str(tmp_path), "status")
    assert ran.stdout == "ran -P -m node.cli status\n"
    assert f"--no-index --find-links {tmp_path}" in project.steps[-1]


@pytest.mark.parametrize("arguments", [["--wheels"], ["--wheels", "nowhere", "status"], ["--wheels=nowhere"]])
def test_wheels_that_are_not_there_are_wrong_usage(project: Project, arguments: list[str]) -> None:
    ran = project.run(*arguments)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert not project.steps


def test_an_old_python_is_refused_before_anything_is_made(
    launcher: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launcher.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(launcher.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        launcher.main(["demo"])
    assert caught.value.code == 1
    assert "Python 3.11 or newer is needed; this is 3.9" in capsys.readouterr().err


def test_a_newer_python_on_the_path_is_used_instead_of_an_old_one(
    launcher: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(launcher.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(
        launcher.shutil, "which", lambda name: "/opt/python3.12" if name == "python3.12" else None
    )
    monkeypatch.setattr(launcher.os, "execv", lambda path, arguments: started.append(arguments))
    monkeypatch.setattr(launcher, "_give_up", lambda text, status=1: None)
    launcher._check_python(["demo"])
    assert started == [["/opt/python3.12", str(ROOT / "hedgerow"), "demo"]]


@pytest.mark.parametrize(
    ("says", "taken"),
    [("3 11", True), ("3 12", False), ("", False), (None, False)],
    ids=["same version", "another version", "cannot make environments", "is not there"],
)
def test_of_two_builds_of_one_version_the_systems_makes_the_environment(
    launcher: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str | None,
    taken: bool,
) -> None:
    system = tmp_path / "python3"
    if says is not None:
        system.write_text(f"#!/bin/sh\n[ -n '{says}' ] && echo '{says}'\n")
        system.chmod(0o755)
    monkeypatch.setattr(launcher.sys, "version_info", (3, 11, 7))
    monkeypatch.setattr(launcher, "PYTHON_SYSTEM", str(system))
    maker = str(system) if taken else sys.executable
    assert launcher._python() == maker
    monkeypatch.setattr(launcher.shutil, "which", lambda name: None)
    assert launcher._steps("/made", "what", "")[0] == [maker, "-m", "venv", "/made"]


def test_a_missing_debian_package_is_named_before_anything_is_made(
    launcher: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(launcher, "ROOT", str(tmp_path))
    monkeypatch.setattr(launcher, "LINK", str(tmp_path / ".venv"))
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(launcher.shutil, "which", lambda name: None)
    monkeypatch.setattr(launcher.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        launcher.environment("", needs_tests=False)
    assert "sudo apt install python3-venv" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_a_stamp_says_what_an_environment_was_made_from(project: Project) -> None:
    project.run("status")
    stamp = json.loads((project.root / ".venv" / "hedgerow-stamp.json").read_text())
    assert set(stamp) == {"hash", "extra"}
