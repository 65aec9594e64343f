"""Measures speed, bytes and memory, as ratios to what the same machine does in the same run.

    ./hedgerow bench                     every row; takes a while
    ./hedgerow bench --row sketch        one row, or several
    ./hedgerow bench --quick             small sets: shows that it works, the figures are rough
    ./hedgerow bench --json FILE         writes the figures as JSON too

V is bare PyNaCl Ed25519 verifies per core-second, R the raw bytes of the records moved, E the start of an
empty aiohttp app. Nothing here is a test: a figure that misses its goal is shown as missed,
and the run goes on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.benchmarks.figures import Bench, Figure, Row  # noqa: E402  # The checkout may not be installed.

ROWS = {
    "naming": "bytes and round trips in which two hubs name a difference",
    "hostile": "what two records made to stall the sketch cost",
    "taking": "taking records in, from the wire to the search index",
    "first": "the first sync of an empty node with a full one",
    "start": "start to the first page, and memory",
    "listing": "pages, lists and searches of a full board",
    "keeping": "what a record costs a held set: digest, cells and counts",
    "sketch": "cells and bytes that name a difference, and the work of decoding it",
}


def main(arguments: Sequence[str]) -> int:
    """Measure the rows asked for and show them; 0 unless a row could not be measured."""
    options = _read(arguments)
    bench = Bench(quick=options.quick)
    figures: list[Figure] = []
    broken: list[str] = []
    print(_head(), flush=True)
    for name in options.row or ROWS:
        print(f"\n{name}: {ROWS[name]}", flush=True)
        started_s = time.monotonic()
        try:
            for figure in _load(name)(bench):
                figures.append(figure)
                print(show(figure), flush=True)
        except Exception as error:  # One row that fails must not lose the others.
            broken.append(f"{name}: {type(error).__name__}: {error}")
            print("  could not be measured: " + broken[-1], flush=True)
        print(f"  ({time.monotonic() - started_s:.0f} s)", flush=True)
    print("\n" + foot(bench, figures))
    if options.json:
        _write(Path(options.json), bench, figures, broken)
    return 1 if broken else 0


def show(figure: Figure) -> str:
    """Give a figure as one line of the table."""
    value = f"{figure.value:,.{3 if abs(figure.value) < 10 else 1}f}".rstrip("0").rstrip(".")
    ratio = "" if figure.ratio is None else f"{figure.ratio:.3g} {figure.anchor}"
    verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
    return (
        f"  {figure.case:<52} {value:>12} {figure.unit:<18} {ratio:>16}  {figure.goal:<14} {verdict}".rstrip()
    )


def foot(bench: Bench, figures: Sequence[Figure]) -> str:
    """Give the anchors, and how many goals were met."""
    lines = []
    if bench.verify_shots_s:
        shots = sorted(bench.verify_shots_s)
        slowest, middle, fastest = shots[-1], shots[len(shots) // 2], shots[0]
        lines.append(
            f"V: {1 / middle:,.0f} verifies per core-second (median of {len(shots)} shots, "
            f"{1 / slowest:,.0f} to {1 / fastest:,.0f})"
        )
    judged = [figure for figure in figures if figure.met is not None]
    lines.append(f"goals met: {sum(figure.met is True for figure in judged)} of {len(judged)}")
    return "\n".join(lines)


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    reader = argparse.ArgumentParser(prog="hedgerow bench", description=(__doc__ or "").splitlines()[0])
    reader.add_argument(
        "--row", action="append", choices=sorted(ROWS), help="measure this row (may be repeated)"
    )
    reader.add_argument("--quick", action="store_true", help="small sets and few repetitions; rough figures")
    reader.add_argument("--json", metavar="FILE", help="write the figures there too")
    return reader.parse_args(arguments)


def _load(name: str) -> Row:
    """Import a row only when it is measured, so that one row's needs do not burden another's memory."""
    row: Row = importlib.import_module(f"tests.benchmarks.row_{name}").measure
    return row


def _head() -> str:
    system = f"{platform.system()} {platform.release()}"
    return f"Python {platform.python_version()} on {platform.machine()}, {system}, {os.cpu_count()} cores"


def _write(path: Path, bench: Bench, figures: Sequence[Figure], broken: Sequence[str]) -> None:
    shots = sorted(bench.verify_shots_s)
    path.write_text(
        json.dumps(
            {
                "machine": _head(),
                "quick": bench.quick,
                "verifies_per_core_second": 1 / shots[len(shots) // 2] if shots else None,
                "figures": [asdict(figure) for figure in figures],
                "not_measured": list(broken),
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
