"""A town that one member let in meets another that has not heard of it: real daemons."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.node.test_daemon import Valley, agree, federate, post, titles, until


@pytest.fixture
async def valley(tmp_path: Path) -> AsyncIterator[Valley]:
    """A place for towns, left tidy."""
    async with AsyncExitStack() as stack:
        yield Valley(tmp_path, stack)


async def test_who_was_let_in_by_one_goes_on_with_another_that_never_heard_of_it(valley: Valley) -> None:
    roanne, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
    federation = await federate(roanne, charlieu)
    await agree(federation, roanne, charlieu)
    await charlieu.peers.remove(roanne.town)
    await roanne.peers.remove(charlieu.town)
    ambierle = await valley.settle("Ambierle")
    code, _ = await roanne.invitations.invite(federation)
    assert (await ambierle.join(code))["state"] == "joined"
    await agree(federation, roanne, ambierle)
    # Nobody is left who could tell Charlieu.
    await roanne.stop()
    assert not charlieu.authority().is_member(federation, ambierle.town)
    await ambierle.add_peer(valley.relays["Charlieu"].url, approve=True)
    await charlieu.add_peer(valley.relays["Ambierle"].url, approve=True)
    await until(lambda: charlieu.authority().is_member(federation, ambierle.town))
    await post(ambierle, "straw for the dike")
    await post(charlieu, "a boat")
    await agree(federation, charlieu, ambierle)
    assert await titles(charlieu) == await titles(ambierle) == {"straw for the dike", "a boat"}
