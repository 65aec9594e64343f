"""Four whole nodes hear of a copied, a restored and a stolen board, each in an order of its own.

All acts are done by real boards: one that runs from a copy of another's directory, one that was restored from
an old backup, one whose thief writes over, withdraws, claims and accepts, and one that takes it back. What
they signed then comes to four nodes, batch by batch, in four orders. In the end, when they have met, all hold
and show the same, nothing that somebody was told is kept is missing, and `status` says what happened.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node import beginnings, claim_acts, key_acts
from node.acts import ACTS
from node.backup import restore_backup
from node.beginnings import SavedKey, Town
from node.clones import RESTORED
from node.clones import SAYS as CLONE_MET
from node.config import read_settings
from node.custody import DEVICE_REVOKED
from node.daemon import Daemon
from protocol.ids import home_id
from tests.node.test_daemon import Valley, digests, federate, titles

assert claim_acts and key_acts
HOME, TWIN, CHARLIEU, AMBIERLE = "restored", "twin", "charlieu", "ambierle"
MEETINGS_MAX = 5
NODES = (HOME, TWIN, CHARLIEU, AMBIERLE)
HONEST = {
    "Rye bread, by the clone", "Soup", "Ten loaves", "A ladder", "After the backup", "New at the clone",
    "After the restore", "By the board in time",
}  # fmt: skip


@dataclass
class Story:
    """What everybody has before it begins, and what was signed then.

    Attributes:
        acts: The batches by what they are.
        bases: The directory of each of the four nodes as it was before.
        honest: All that somebody was told is kept.
        loaves: The address of what the stolen board was the keeper of.
    """

    folder: Path
    acts: dict[str, list[bytes]] = field(default_factory=dict)
    bases: dict[str, Path] = field(default_factory=dict)
    honest: list[bytes] = field(default_factory=list)
    loaves: str = ""


async def begin(stack: AsyncExitStack, data: Path) -> Daemon:
    """Run the node of a directory, which calls nobody."""
    settings = read_settings(data, {"HEDGEROW_LINKS__DIAL": "false", "HEDGEROW_WEB__LISTEN": "127.0.0.1:0"})
    node = Daemon(data, settings)
    await node.start()
    stack.push_async_callback(node.stop)
    return node


async def act(node: Daemon, name: str, /, **arguments: Any) -> Any:
    """Do what a command has done."""
    return await ACTS[name](node, arguments)


async def records(node: Daemon) -> list[bytes]:
    """All that a node holds, in the order in which it came."""
    return [raw for _, raw in await node.store.read(lambda reader: reader.export(0, 1_000))]


async def hear(node: Daemon, raws: Sequence[bytes]) -> None:
    """Let a batch come in at a node's door."""
    await node.intake.accept(raws)


async def meet(*nodes: Daemon) -> None:
    """Let all have what the others hold, until nothing is new to anybody."""
    for _ in range(MEETINGS_MAX):
        held = [await records(node) for node in nodes]
        for node in nodes:
            for raws in held:
                await hear(node, raws)
        if [await records(node) for node in nodes] == held:
            return
    raise AssertionError("meeting again and again never comes to rest")


async def told_of(node: Daemon) -> tuple[set[str], str]:
    """The codes of what `status` tells people, and what it says of this board's key."""
    status = await node.status()
    return {each["code"] for each in status["incidents"]}, status["keys"]["says"]


async def write_story(folder: Path) -> Story:
    """Have everything done once, by boards that do not hear of each other."""
    story = Story(folder)
    async with AsyncExitStack() as stack:
        valley = Valley(folder, stack)
        board, charlieu, ambierle = [await valley.settle(name) for name in ("board", CHARLIEU, AMBIERLE)]
        await federate(charlieu, board, ambierle)
        secret = valley.town_secrets["board"]
        saved = SavedKey(board.data / "keys" / "town.key", secret)
        await beginnings.begin(folder / "stolen", Town(""), saved=saved)
        stolen = await begin(stack, folder / "stolen")
        everybody = (board, stolen, charlieu, ambierle)
        await meet(*everybody)
        bread = (await act(board, "post", kind="offer", fields={"title": "Bread"}))["address"]
        soup = (await act(board, "post", kind="offer", fields={"title": "Soup"}))["address"]
        fields = {"title": "Ten loaves", "quantity": "10 each"}
        loaves = (await act(stolen, "post", kind="offer", fields=fields))["address"]
        ladder = (await act(charlieu, "post", kind="offer", fields={"title": "A ladder"}))["address"]
        await meet(*everybody)
        asked = (await act(charlieu, "claim", address=loaves, quantity="2 each"))["address"]
        open_claim = (await act(ambierle, "claim", address=loaves, quantity="8 each"))["address"]
        await meet(*everybody)
        await act(stolen, "accept", address=asked)
        await meet(*everybody)
        await act(board, "backup", file=str(folder / "board.tar"), with_keys=True)
        device = stolen.intake.device.hex()
    shutil.copytree(folder / "board", folder / TWIN)
    restore_backup(folder / "board.tar", folder / HOME)
    async with AsyncExitStack() as stack:
        await begin(stack, folder / HOME)
    for name in NODES:
        story.bases[name] = folder / f"{name} before"
        shutil.copytree(folder / name, story.bases[name])

    async def done(name: str, data: str, *acts: tuple[str, dict[str, Any]], honest: bool = True) -> None:
        """Let a board do something by itself, and keep what it signed."""
        async with AsyncExitStack() as stack:
            node = await begin(stack, folder / data)
            before = set(await records(node))
            for command, arguments in acts:
                await act(node, command, **arguments)
            story.acts[name] = [raw for raw in await records(node) if raw not in before]
            assert story.acts[name]
            story.honest += story.acts[name] if honest else []

    def post(title: str) -> tuple[str, dict[str, Any]]:
        return "post", {"kind": "offer", "fields": {"title": title}}

    def edit(title: str) -> tuple[str, dict[str, Any]]:
        return "edit", {"address": bread, "fields": {"title": title}}

    await done("the board, after its backup", "board", post("After the backup"))
    await done("the clone writes", TWIN, edit("Rye bread, by the clone"), post("New at the clone"))
    await done("the restored board writes", HOME, post("After the restore"))
    await done("the thief edits", "stolen", edit("Send money"), post("Gold for nothing"), honest=False)
    await done("the thief deletes", "stolen", ("withdraw", {"address": soup}), honest=False)
    await done("the thief claims", "stolen", ("claim", {"address": ladder}), honest=False)
    await done("the thief accepts", "stolen", ("accept", {"address": open_claim}), honest=False)
    revoke = {"device": device, "keep": "all", "secret": secret}
    async with AsyncExitStack() as stack:
        this = (await begin(stack, folder / HOME)).intake.device.hex()
    keeper = {"address": loaves, "device": this, "secret": secret}
    await done("the town takes back", HOME, ("key_revoke", revoke), ("keeper", keeper))
    await done("the town writes again", HOME, post("By the board in time"))
    story.loaves = loaves
    return story


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story, told once."""
    return asyncio.run(write_story(tmp_path_factory.mktemp("story")))


async def replay(story: Story, orders: Sequence[Sequence[str]], folder: Path) -> None:
    """Let each of the four nodes hear of everything in its own order, then meet, and look at them."""
    async with AsyncExitStack() as stack:
        nodes = dict[str, Daemon]()
        for name, order in zip(NODES, orders, strict=True):
            shutil.copytree(story.bases[name], folder / name)
            nodes[name] = await begin(stack, folder / name)
            for each in order:
                await hear(nodes[name], story.acts[each])
        await meet(*nodes.values())
        home, twin, charlieu, ambierle = nodes.values()
        [federation] = home.authority().federations
        assert len({tuple(sorted(digests(node, federation).items())) for node in nodes.values()}) == 1
        own = home_id(home.town)
        assert digests(home, own) == digests(twin, own) != {}
        for one, other in ((home, twin), (charlieu, ambierle)):
            exported = [sorted([line async for line in node.board.export()]) for node in (one, other)]
            assert exported[0] == exported[1]
        for node in nodes.values():
            assert await titles(node) == HONEST
            assert set(story.honest) <= set(await records(node))
            ledger = await node.claims.ledger_of(story.loaves)
            assert ledger is not None
            assert (ledger.promised, ledger.keeper) == (2_000, home.intake.device)
        assert await told_of(home) == ({RESTORED, DEVICE_REVOKED}, CLONE_MET)
        assert await told_of(twin) == ({DEVICE_REVOKED}, CLONE_MET)
        for node in (charlieu, ambierle):
            assert await told_of(node) == ({DEVICE_REVOKED}, "")


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_four_nodes_that_hear_in_four_orders_end_the_same_and_say_what_happened(
    story: Story, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Takes some 12 s."""
    orders = [data.draw(st.permutations(sorted(story.acts)), label=name) for name in NODES]
    folder = tmp_path_factory.mktemp("replay")
    asyncio.run(replay(story, orders, folder))
    shutil.rmtree(folder)
