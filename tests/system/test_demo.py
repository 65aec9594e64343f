"""The demonstration as people run it: status 0 only if all copies were equal in the end."""

import asyncio
import json
import os
import sys
from typing import Any

import pytest


async def _demo(*options: str) -> tuple[int, dict[str, Any], str]:
    """Run the demo to its end; return its status, its figures and its account."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "node.cli", "demo", "--exit", "--json", "--records", "45", *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("HEDGEROW_")},
    )  # fmt: skip
    out, account = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out), account.decode()


@pytest.mark.timeout(240)
async def test_the_demo_ends_with_0_after_a_heal_and_with_1_without_one() -> None:
    healed, unhealed = await asyncio.gather(_demo(), _demo("--no-heal"))
    status, figures, account = healed
    assert status == 0, account
    assert figures["equal"] is True
    assert figures["differing"] == 0
    assert figures["documents"] > figures["posted"] >= 45
    assert figures["bytes"] > 0
    assert figures["swallowed_bytes"] > 0, "the cut was one"
    assert "all copies are equal" in account
    status, figures, account = unhealed
    assert status == 1, account
    assert figures["equal"] is False
    assert figures["differing"] > 0
