"""Writes the tables of `protocol.md` that are made from the code; `--check` only compares them."""

from __future__ import annotations

import ast
import re
import sys
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from protocol import limits  # noqa: E402  # The checkout may not be installed.
from protocol.ids import Op  # noqa: E402
from protocol.kinds import KINDS  # noqa: E402
from protocol.kinds.bounds import DAY_S  # noqa: E402
from protocol.schema import Kind  # noqa: E402

TEXT = ROOT / "docs" / "protocol.md"


def limits_table() -> str:
    """Return a row for each number of `limits.py`: name, value, and the sentence that stands below it."""
    rows = ["| limit | value | why |", "|---|---|---|"]
    body = ast.parse(Path(limits.__file__).read_text()).body
    for statement, after in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant), statement.target.id
            name = statement.target.id
            rows.append(
                f"| `{name}` | {getattr(limits, name):,} | {' '.join(str(after.value.value).split())} |"
            )
    return "\n".join(rows)


def kinds_table() -> str:
    """Return the declaration of every kind: what its headers say, and the table of its fields."""
    kinds = [kind for _, kind in sorted(KINDS.items())]
    return "\n\n".join(f"{heading(kind)}\n\n{kind.as_markdown().strip()}" for kind in kinds)


def heading(kind: Kind) -> str:
    """Return the name of a kind and what the headers of its records say."""
    days = f"{kind.lifetime_default_s // DAY_S:,} days", f"{kind.lifetime_max_s // DAY_S:,}"
    op = "entries" if kind.op is Op.ENTRY else "puts"
    means = f"`{kind.standard}`; " if kind.standard else ""
    linger = f"; {kind.linger_s // DAY_S:,} days longer than what they tell of" if kind.linger_s else ""
    sealed = ", with sealed bodies" if kind.sealed else ""
    return (
        f"### `{kind.name}`\n\n{kind.label}: {means}{op}{sealed} in the {kind.lane.name.lower()} lane, "
        f"living {days[0]} unless said otherwise and {days[1]} at most{linger}."
    )


def fill(text: str, mark: str, table: str) -> str:
    """Put a table between the comments that carry its mark."""
    pattern = re.compile(rf"<!-- {mark} -->.*<!-- /{mark} -->", re.S)
    assert pattern.search(text), mark
    return pattern.sub(lambda _: f"<!-- {mark} -->\n{table}\n<!-- /{mark} -->", text)


def main() -> int:
    """Write the tables, or tell whether they are up to date."""
    before = TEXT.read_text()
    after = fill(fill(before, "limits", limits_table()), "kinds", kinds_table())
    if "--check" in sys.argv:
        return int(before != after)
    TEXT.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
