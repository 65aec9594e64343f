"""What is installed: the three packages with their data files, one version, and nobody else's names."""

import importlib.metadata
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from node import __version__

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("node", "protocol", "sync")


def test_no_other_distribution_ships_one_of_our_three_names() -> None:
    shipped = importlib.metadata.packages_distributions()
    for name in PACKAGES:
        assert set(shipped.get(name, [])) <= {"hedgerow"}, name


def test_the_three_packages_are_those_of_this_checkout() -> None:
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        assert Path(spec.origin).resolve().parent == ROOT / name


def test_the_version_stands_in_one_place() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" in declared["project"]["dynamic"]
    assert declared["tool"]["hatch"]["version"]["path"] == "node/__init__.py"
    assert __version__.count(".") == 2


def test_every_third_party_import_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {requirement.split(">")[0].split("=")[0].strip().lower() for requirement in declared}
    modules = {"nacl": "pynacl", "Stemmer": "pystemmer", "noise": "noiseprotocol"}
    found: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for line in path.read_text("utf-8").splitlines():
                words = line.split()
                if len(words) > 1 and words[0] in ("import", "from") and words[1][:1].isalpha():
                    found.add(words[1].partition(".")[0])
    foreign = {name for name in found if name not in sys.stdlib_module_names and name not in PACKAGES}
    known = {name for name in foreign if importlib.util.find_spec(name) is not None}
    assert {modules.get(name, name).lower() for name in known} <= names


@pytest.mark.timeout(120)
def test_the_wheel_holds_every_file_of_the_three_packages(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling is needed to build a wheel here")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    wheel = next(tmp_path.glob("hedgerow-*.whl"))
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)
