"""What `./hedgerow test` runs: style, types, every test, and how much of the pure floors they reach.

    ./hedgerow test               everything
    ./hedgerow test --complete    the same, and a test that was left out is a failure (continuous integration)
    ./hedgerow test tests/sync    these tests only: whatever else pytest understands may be given too

The tests run in parts side by side, because the towns' machine and ours have two cores at least: the pure
floors, measured by coverage; laws over whole histories, and last the simulator, whose processes give way to
all others and fill both cores to the end; the daemon with its sockets and files; its pages in a browser; and
whole towns as processes, which wait for most of their time. Types are checked beside them.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRANCH_PERCENT_MIN = 95
NOT_MEANT = "not meant: "
"""How the reason of a skip begins that no machine would change: a case of a shared test that cannot be."""
PURE = ("tests/protocol", "tests/sync")
UNMEASURED = "law"
"""Mark of tests of many histories: others reach the same branches, and measuring these takes three times as
long as running them."""
SIMULATOR = "tests/simulation"
PAGES = "tests/browser"
TOWNS = "tests/system"


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; 0 if all of it passed."""
    os.chdir(ROOT)
    # Each town and each planted fault is a process of its own: what one has compiled is there for the next.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    complete = "--complete" in arguments
    chosen = [argument for argument in arguments if argument != "--complete"]
    if chosen:
        return subprocess.call([sys.executable, "-m", "pytest", *chosen])
    failed: list[str] = []
    if not step("style", [sys.executable, "-m", "ruff", "check", "."]):
        failed.append("style")
    types = subprocess.Popen(
        [sys.executable, "-m", "mypy", "--no-error-summary"], stdout=subprocess.PIPE, text=True
    )
    with tempfile.TemporaryDirectory(prefix="hedgerow-test-") as folder:
        passed, left_out = run_tests(Path(folder))
    if not passed:
        failed.append("tests")
    said, _ = types.communicate()
    print(f"\n== types ==\n{said}", flush=True)
    if types.returncode:
        failed.append("types")
    if not step("branches of protocol/ and sync/", coverage("report", *_of_pure_floors())):
        failed.append(f"branch coverage of protocol/ and sync/ (at least {BRANCH_PERCENT_MIN} %)")
    return summary(failed, left_out, complete)


def run_tests(folder: Path) -> tuple[bool, list[str]]:
    """Run all parts at once; return whether all passed, and what was left out with its reason."""
    others = sorted(str(part) for part in Path("tests").iterdir() if _has_tests(part))
    rest = [part for part in others if part not in (*PURE, SIMULATOR, PAGES, TOWNS)]
    pytest = ["-m", "pytest", "-q"]
    parts = {
        "the pure floors": coverage("run", *pytest, "-m", f"not {UNMEASURED}", *PURE),
        "the laws": [sys.executable, *pytest, "-m", UNMEASURED, *PURE, SIMULATOR],
        "the daemon": [sys.executable, *pytest, *rest],
        "its pages": [sys.executable, *pytest, PAGES],
        "whole towns": [sys.executable, *pytest, TOWNS],
    }
    reports = {name: folder / f"{name.replace(' ', '-')}.xml" for name in parts}
    started = time.monotonic()
    with ThreadPoolExecutor(len(parts)) as pool:
        ended = list(pool.map(run_part, parts.values(), reports.values()))
    print(f"all parts took {time.monotonic() - started:.0f} s")
    passed, left_out = True, []
    for (name, report), (code, took_s, said) in zip(reports.items(), ended, strict=True):
        print(f"\n== tests of {name}, {took_s:.0f} s ==\n{said}", flush=True)
        left_out += skipped(report)
        passed = (code == 0 or (code == 1 and again(name, report))) and passed
    return passed, left_out


def run_part(command: Sequence[str], report: Path) -> tuple[int, float, str]:
    """Run one part; return its status, how many seconds it took, and what it said."""
    started = time.monotonic()
    done = subprocess.run(
        [*command, "-o", f"cache_dir={_memory(report)}", f"--junitxml={report}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, time.monotonic() - started, done.stdout


def again(name: str, report: Path) -> bool:
    """Run what failed once more, alone: on a crowded machine a deadline that people have may be missed.

    A fault fails twice. What passes only now stands in the output of the first run, for whoever looks.
    """
    print(f"\n== tests of {name}: what failed, alone ==", flush=True)
    memory = f"cache_dir={_memory(report)}"
    return subprocess.call([sys.executable, "-m", "pytest", "-q", "--lf", "--lfnf=none", "-o", memory]) == 0


def skipped(report: Path) -> list[str]:
    """The tests that a run left out, each with its reason."""
    if not report.exists():
        return []
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        for mark in case.iter("skipped"):
            reason = mark.get("message", "no reason given")
            if not reason.startswith(NOT_MEANT):
                found.append(f"{case.get('name')}: {reason}")
    return found


def coverage(verb: str, *arguments: str) -> list[str]:
    """The command line of one act of coverage."""
    return [sys.executable, "-m", "coverage", verb, *arguments]


def step(name: str, command: Sequence[str]) -> bool:
    """Run one check with its output shown; True if it passed."""
    print(f"\n== {name} ==", flush=True)
    return subprocess.call(command) == 0


def summary(failed: Sequence[str], left_out: Sequence[str], complete: bool) -> int:
    """Say at the end what failed and what was left out; the exit code."""
    print("\n== summary ==")
    if left_out:
        print(f"left out ({len(left_out)}; Chromium or root would be needed where it says so):")
        for line in left_out:
            print(f"  {line}")
    if complete and left_out:
        failed = [*failed, "something was left out"]
    print("failed: " + "; ".join(failed) if failed else "all passed")
    return 1 if failed else 0


def _memory(report: Path) -> Path:
    """Where pytest remembers what failed."""
    return report.with_suffix(".memory")


def _has_tests(part: Path) -> bool:
    if part.is_dir():
        return part.name != "benchmarks" and any(part.rglob("test_*.py"))
    return part.name.startswith("test_") and part.suffix == ".py"


def _of_pure_floors() -> list[str]:
    return [
        "--include=protocol/*,sync/*",
        f"--fail-under={BRANCH_PERCENT_MIN}",
        "--skip-covered",
        "--show-missing",
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
