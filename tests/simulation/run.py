"""Run seeds of the simulator: `python tests/simulation/run.py --seeds 0..199 --towns 50`.

Prints one line for each seed and a sum; ends with status 1 at the first seed that does not come out
right. With `--honest N` all towns but the first N lie (`hostile`); with `--copies` one board is cloned, one
restored from a backup, and one robbed of its key (`copies`).
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.simulation.copies import run_copies
from tests.simulation.hostile import run_den
from tests.simulation.land import Land
from tests.simulation.scenario import Outcome, run_seed


def main(arguments: list[str]) -> int:
    """Run what was asked for; 0 if every seed came out right."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", default="0..9", help="first..last")
    options.add_argument("--towns", type=int, default=20)
    options.add_argument("--honest", type=int, default=0, help="all towns but so many lie; 0: none does")
    options.add_argument("--copies", action="store_true", help="clones, old backups and thieves")
    options.add_argument("--quiet", action="store_true", help="print the sum only")
    given = options.parse_args(arguments)
    first, _, last = given.seeds.partition("..")
    started_s = time.process_time()
    seeds = range(int(first), int(last or first) + 1)
    if given.honest:
        return other_scenes(seeds, lambda seed: run_den(seed, given.towns, given.honest))
    if given.copies:
        return other_scenes(seeds, lambda seed: run_copies(seed, given.towns))
    outcomes = list[Outcome]()
    # Nothing of one seed outlives it, so the collector has nothing to find while it runs; and what was there
    # before the first seed stays, so it need not be looked through after each.
    gc.disable()
    gc.freeze()
    for seed in seeds:
        try:
            outcomes.append(run_seed(seed, given.towns))
        except Exception:
            traceback.print_exc()
            print(f"seed={seed} towns={given.towns} FAILED")
            return 1
        gc.collect()
        if not given.quiet:
            print(outcomes[-1].line(), flush=True)
    counts = sum((Counter(outcome.counts) for outcome in outcomes), Counter[str]())
    print(
        f"towns in all: {sum(outcome.towns for outcome in outcomes)} · seeds: {len(outcomes)} ·"
        f" slowest to be equal: {max(outcome.equal_ms for outcome in outcomes)} ms ·"
        f" {' · '.join(f'{name}: {count}' for name, count in counts.items())} ·"
        f" {time.process_time() - started_s:.1f} s of one core"
    )
    return 0


def other_scenes(seeds: range, run: Callable[[int], Land]) -> int:
    """Run seeds of another scene and print the sum of their counts; 0 if every seed came out right."""
    counts = Counter[str]()
    for seed in seeds:
        try:
            counts += run(seed).counts
        except Exception:
            traceback.print_exc()
            print(f"seed={seed} FAILED")
            return 1
    print(f"seeds: {len(seeds)} · {' · '.join(f'{name}: {count}' for name, count in sorted(counts.items()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
