"""Plant faults, one at a time, and see each of them caught: `python tests/faults/run.py [NAME ...]`.

Each `*.patch` beside this file begins with two lines: `# Fault:` says what is wrong with the program that
it makes, and `# Test:` names the test that must catch it. The tree is copied, the patch applied to the copy,
and the test run there: it must fail, and by an assertion. A patch that no longer applies is an error too, for
then nobody knows any more whether the fault would be caught.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
ROOT: Final = FOLDER.parents[1]
COPIED: Final = ("protocol", "sync", "node", "tests", "docs", "pyproject.toml", "README.md")
AT_ONCE: Final = 2
"""Faults that are tried side by side: one for each core of the smallest machine."""
TRIAL_S_MAX: Final = 240
"""A named test is a quick one; a hang is no catch."""
TEST_FAILED: Final = 1
"""pytest's status when tests ran and some failed."""


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        says: What is wrong with the program that has it.
        test: The name of the test that must catch it, in whatever file it stands.
    """

    name: str
    says: str
    test: str
    patch: Path


class NotCaught(Exception):
    """A fault that its test let pass, or that cannot be planted any more."""


def faults() -> list[Fault]:
    """Return all planted faults, by name."""
    found = []
    for patch in sorted(FOLDER.glob("*.patch")):
        first, second, *_ = patch.read_text(encoding="utf-8").splitlines()
        if not (first.startswith("# Fault: ") and second.startswith("# Test: ")):
            raise NotCaught(f"{patch.name}: begins with '# Fault: ...' and '# Test: ...'")
        found.append(Fault(patch.stem, first[9:], second[8:], patch))
    return found


def try_out(fault: Fault) -> float:
    """Plant a fault in a copy of the tree and run its test; return how many seconds that took.

    Raises:
        NotCaught: The patch does not apply, or the test does not fail by an assertion.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hedgerow-fault-") as folder:
        copy = Path(folder)
        _copy_tree(copy)
        # A repository of its own, or git would look for one above and pass over what is not of that one.
        _run(["git", "init", "--quiet"], copy)
        planted = _run(["git", "apply", str(fault.patch)], copy)
        if planted.returncode:
            raise NotCaught(f"{fault.name}: the patch no longer applies\n{planted.stdout}")
        _forget_compiled(fault, copy)
        test = f"{_file_of(fault.test, copy)}::{fault.test}"
        # Only whether it fails is asked, and by what: no assertion is taken apart, no source shown.
        plainly = ["-x", "-q", "--assert=plain", "--tb=native", "-p", "no:cacheprovider"]
        tried = _run([sys.executable, "-m", "pytest", *plainly, test], copy)
    if tried.returncode != TEST_FAILED or "AssertionError" not in tried.stdout:
        shown = tried.stdout[-4_000:]
        raise NotCaught(f"{fault.name}: {fault.test} did not fail by an assertion\n{shown}")
    return time.monotonic() - started


def main(names: Iterable[str]) -> int:
    """Try the named faults, or all; 0 if every one was caught."""
    wanted = set(names)
    chosen = [fault for fault in faults() if not wanted or fault.name in wanted]
    missing = wanted - {fault.name for fault in chosen}
    if missing:
        print(f"there is no fault called {', '.join(sorted(missing))}")
        return 2
    failed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        trials = [(fault, pool.submit(try_out, fault)) for fault in chosen]
        for fault, trial in trials:
            try:
                print(f"caught in {trial.result():5.1f} s: {fault.name}: {fault.says}", flush=True)
            except NotCaught as error:
                failed += 1
                print(f"NOT CAUGHT: {error}", flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} planted faults were caught")
    return 1 if failed else 0


def _file_of(test: str, copy: Path) -> Path:
    """Return the one file in which a test stands, so that it may move without its fault."""
    line = re.compile(rf"^(async )?def {re.escape(test)}\(", re.MULTILINE)
    found = [
        path for path in copy.glob("tests/**/test_*.py") if line.search(path.read_text(encoding="utf-8"))
    ]
    if len(found) != 1:
        raise NotCaught(f"{test}: stands in {len(found)} files, not in one")
    return found[0].relative_to(copy)


def _copy_tree(copy: Path) -> None:
    """Copy the tree as it is, and what of it was compiled: half the time of most trials."""
    left_out = shutil.ignore_patterns(".*", "*.min.js", "*.pyc.*")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=left_out, copy_function=_link)
        elif (ROOT / name).exists():
            _link(ROOT / name, copy / name)


def _link(file: str | Path, copy: str | Path) -> None:
    """Give a file a second name where a copy is due, if the disk can: a patch makes a new file of the old."""
    try:
        os.link(file, copy)
    except OSError:
        shutil.copy2(file, copy)


def _forget_compiled(fault: Fault, copy: Path) -> None:
    """Take away what was compiled of the files that a patch changes."""
    for name in re.findall(r"^\+\+\+ b/(\S+)$", fault.patch.read_text(encoding="utf-8"), re.MULTILINE):
        changed = copy / name
        for compiled in changed.parent.glob(f"__pycache__/{changed.stem}.*"):
            compiled.unlink()


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy; what it says comes together."""
    # The copy comes before whatever is installed; examples that failed elsewhere are not looked up.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TRIAL_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotCaught(f"{' '.join(command)}: took longer than {TRIAL_S_MAX} s") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
