"""Stewards on running nodes: what is proposed on one counts on all, and who was put out is a stranger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from node import beginnings
from node.acts import ACTS
from node.daemon import Daemon
from node.drafts import Draft
from node.errors import HedgerowError
from protocol.ids import FederationId, Lane, Op, TownId
from protocol.record import SIGN, STEP, Record, make, make_body
from sync.membership import ADMIT
from tests.node.test_daemon import WAIT_S, Valley, agree, federate, post, titles, until

NAMES = ("Roanne", "Charlieu", "Renaison")


class Stewards(Valley):
    """Towns whose passphrases are known."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        super().__init__(folder, stack)
        self.passphrases: dict[bytes, str] = {}

    async def settle(self, name: str) -> Daemon:
        """Found a town."""
        data = self.folder / name
        begun = await beginnings.begin(data, beginnings.Town(name, 46.0, 4.0, "fr"), listen="127.0.0.1:0")
        node = await self.run(name)
        self.passphrases[node.town] = begun.passphrase
        return node

    async def do(self, node: Daemon, act: str, **arguments: Any) -> Any:
        """Have a node do one act, as the control socket would; with its passphrase."""
        return await ACTS[act](node, {"passphrase": self.passphrases[node.town], **arguments})


@pytest.fixture
async def stewards(tmp_path: Path) -> AsyncIterator[Stewards]:
    """A place for towns."""
    async with AsyncExitStack() as stack:
        yield Stewards(tmp_path, stack)


async def three(stewards: Stewards) -> tuple[list[Daemon], FederationId]:
    """Return three towns that are all stewards of one federation, each linked with each."""
    nodes = [await stewards.settle(name) for name in NAMES]
    federation = await federate(nodes[0], *nodes[1:])
    for node in nodes[1:]:
        await until(lambda node=node: all(node.federations.name_of(each.town) for each in nodes))  # type: ignore[misc]
    await stewards.do(nodes[1], "peer_add", url=stewards.relays["Renaison"].url, approve=True)
    await stewards.do(nodes[2], "peer_add", url=stewards.relays["Charlieu"].url, approve=True)
    told = await stewards.do(nodes[0], "propose", steward=list(NAMES[1:]))
    assert told["counts"], "the founder decides alone"
    for node in nodes:
        await until(lambda node=node: len(node.authority().federations[federation].stewards) == 3)  # type: ignore[misc]
    return nodes, federation


async def test_three_stewards_lose_one_and_go_on(stewards: Stewards) -> None:
    """The two others put it out while it is away; a steward alone cannot."""
    (roanne, charlieu, renaison), federation = await three(stewards)
    await renaison.stop()
    told = await stewards.do(roanne, "propose", remove=["Renaison"])
    assert not told["counts"] and told["needs"] == 1
    await until(lambda: bool(charlieu.stewardship.pending()))
    [row] = await stewards.do(charlieu, "pending")
    assert row["changes"] == ["Renaison: put out"]
    assert (row["by"], row["signed"], row["own"]) == ("Roanne", ["Roanne"], True)
    assert row["waits_for"] == ["Charlieu", "Renaison"]
    with pytest.raises(HedgerowError) as refused:
        await stewards.do(charlieu, "propose", remove=["Renaison"])
    assert refused.value.code == "step_pending"
    with pytest.raises(HedgerowError) as wrong:
        await stewards.do(charlieu, "sign", step=row["step"][:8], passphrase="no such words at all here")
    assert wrong.value.code == "wrong_passphrase"
    assert (await stewards.do(charlieu, "sign", step=row["step"][:8]))["counts"]
    for node in (roanne, charlieu):
        await until(lambda node=node: renaison.town not in node.authority().federations[federation].members)  # type: ignore[misc]
        assert [each["by"] for each in await stewards.do(node, "members")] == ["step", "step"]
        assert not node.stewardship.pending()
    await post(charlieu, "Blankets")
    await agree(federation, roanne, charlieu)
    assert "Blankets" in await titles(roanne)


async def test_a_removed_town_is_no_peer_of_the_federation_any_more(stewards: Stewards) -> None:
    """Its links stay, and nothing of the federation goes over them."""
    (roanne, charlieu, renaison), federation = await three(stewards)
    await stewards.do(roanne, "propose", remove=["Renaison"])
    await until(lambda: bool(charlieu.stewardship.pending()))
    await stewards.do(charlieu, "sign", step=charlieu.stewardship.pending()[0]["step"])
    await until(lambda: renaison.town not in roanne.authority().federations[federation].members)
    await post(roanne, "Only for members")
    await agree(federation, roanne, charlieu)
    await stewards.do(renaison, "sync")
    served = [each.federations for each in roanne.engine.hub.peers() if each.town == renaison.town]
    assert all(not each for each in served)
    assert "Only for members" not in await titles(renaison)


async def test_a_suspension_counts_at_once_and_can_be_lifted(stewards: Stewards) -> None:
    """By whoever gave it; no steward can be suspended."""
    roanne, charlieu = await stewards.settle("Roanne"), await stewards.settle("Charlieu")
    federation = await federate(roanne, charlieu)
    await until(lambda: bool(roanne.federations.name_of(charlieu.town)))
    await stewards.do(roanne, "suspend", town="Charlieu")
    assert charlieu.town not in roanne.authority().federations[federation].members
    await roanne.federations.read_names()
    rows = {row["name"]: row["by"] for row in await stewards.do(roanne, "members")}
    assert rows == {"Charlieu": "suspended", "Roanne": "charter"}
    with pytest.raises(HedgerowError) as refused:
        await stewards.do(roanne, "suspend", town="Roanne")
    assert refused.value.code == "is_steward"
    with pytest.raises(HedgerowError, match="suspended there already"):
        await stewards.do(roanne, "suspend", town="Charlieu")
    # It leaves, and comes again by an invitation, but not before the suspension is lifted.
    await until(lambda: bool(charlieu.federations.adopted()))
    await stewards.do(charlieu, "leave")
    code, _ = await roanne.invitations.invite(federation)
    with pytest.raises(HedgerowError, match="ask a steward to lift that") as early:
        await charlieu.join(code)
    assert early.value.code == "suspended"
    await stewards.do(roanne, "suspend", town="Charlieu", lift=True)
    assert charlieu.town in roanne.authority().federations[federation].members
    assert (await charlieu.join(code))["state"] == "joined"
    await agree(federation, roanne, charlieu)
    with pytest.raises(HedgerowError):
        await stewards.do(roanne, "suspend", town="Charlieu", lift=True)
    with pytest.raises(HedgerowError) as not_steward:
        await stewards.do(charlieu, "suspend", town="Roanne")
    assert not_steward.value.code == "not_steward"


async def test_members_vouch_for_a_town_where_the_rules_let_them(stewards: Stewards) -> None:
    """Whom the last step names; an admitted town is named by the next one."""
    roanne, charlieu = await stewards.settle("Roanne"), await stewards.settle("Charlieu")
    federation = await federate(roanne, charlieu)
    somebody = "ab" * 32
    for node in (roanne, charlieu):
        with pytest.raises(HedgerowError) as refused:
            await stewards.do(node, "vouch", town=somebody)
        assert refused.value.code == "no_vouching"
    await stewards.do(roanne, "propose", vouches=2)
    await until(lambda: charlieu.authority().federations[federation].chain.current.state.vouches == 2)
    assert (await stewards.do(charlieu, "vouch", town=somebody))["missing"] == 1
    assert (await stewards.do(roanne, "vouch", town=somebody))["missing"] in (0, 1)
    await until(lambda: bytes.fromhex(somebody) in charlieu.authority().federations[federation].acts.vouched)
    with pytest.raises(HedgerowError) as again:
        await stewards.do(charlieu, "vouch", town=somebody)
    assert again.value.code == "member_already"
    await until(lambda: bytes.fromhex(somebody) in roanne.authority().federations[federation].members)
    await stewards.do(roanne, "suspend", town=somebody)
    await until(
        lambda: bytes.fromhex(somebody) in charlieu.authority().federations[federation].acts.suspended
    )
    with pytest.raises(HedgerowError, match="lift that first") as suspended:
        await stewards.do(charlieu, "vouch", town=somebody)
    assert suspended.value.code == "suspended"


async def test_a_member_leaves_by_itself_and_a_steward_by_a_step(stewards: Stewards) -> None:
    """The founder too, once it is no steward any more."""
    roanne, charlieu = await stewards.settle("Roanne"), await stewards.settle("Charlieu")
    federation = await federate(roanne, charlieu)
    await agree(federation, roanne, charlieu)
    with pytest.raises(HedgerowError) as steward:
        await stewards.do(roanne, "leave")
    assert steward.value.code == "is_steward"
    assert (await stewards.do(charlieu, "leave")) == {"name": "Valley"}
    assert not charlieu.authority().federations
    async with asyncio.timeout(WAIT_S):
        while [each["by"] for each in await stewards.do(roanne, "members")] != ["left", "charter"]:
            await asyncio.sleep(0.01)
    code, _ = await roanne.invitations.invite(federation)
    assert (await charlieu.join(code))["state"] == "joined"
    await agree(federation, roanne, charlieu)
    assert [each["by"] for each in await stewards.do(roanne, "members")] == ["admit", "charter"]
    await stewards.do(charlieu, "leave")
    await stewards.do(roanne, "propose", steward=["Charlieu"], no_steward=["Roanne"])
    assert (await stewards.do(roanne, "leave")) == {"name": "Valley"}
    assert not roanne.authority().federations


async def test_an_act_that_rests_on_an_old_step_is_given_again_and_that_is_shown(stewards: Stewards) -> None:
    """Unless a step has decided it."""
    roanne = await stewards.settle("Roanne")
    federation = await federate(roanne)
    far = bytes.fromhex("ab" * 32)
    chain = roanne.authority().federations[federation].chain
    old = Draft(ADMIT, fields={"town": far}, federations=(federation,), cites=(chain.steps[0].id,))
    await roanne.intake.post([old])
    assert far in roanne.authority().federations[federation].members
    key = await roanne._open_town_key(stewards.passphrases[roanne.town])
    for number in range(2):
        # As another board of the town would write them that has not heard of the admission.
        current = roanne.authority().federations[federation].chain.current
        fields: Any = {"name": f"Valley {number}", "stewards": [roanne.town], "members": [roanne.town]}
        more = {"round": 1, "parent": bytes(current.id)}
        await roanne.intake.post([Draft(STEP, Op.ENTRY, fields | more, (federation,), key=key)])
    await until(lambda: far in roanne.authority().federations[federation].members)
    await shown(roanne, "act_renewed")
    assert len(await roanne.store.read(lambda reader: reader.records_of(roanne.town, ADMIT))) == 1


async def test_a_newcomer_follows_a_chain_that_is_longer_than_what_is_shown_at_once(
    stewards: Stewards,
) -> None:
    """It knows nothing but its invitation; then both go on as any two towns."""
    roanne, charlieu = await stewards.settle("Roanne"), await stewards.settle("Charlieu")
    federation = await federate(roanne)
    key = await roanne._open_town_key(stewards.passphrases[roanne.town])
    parent, steps = roanne.authority().federations[federation].chain.current.id, list[bytes]()
    for number in range(300):
        fields: Any = {"name": f"Valley {number}", "stewards": [roanne.town], "parent": bytes(parent)}
        step = entry(roanne, federation, key, STEP, number, round=1, members=[], **fields)
        steps, parent = [*steps, step.raw], step.id
    await roanne.intake.accept(steps)
    code, _ = await roanne.invitations.invite(federation)
    assert (await charlieu.join(code))["state"] == "joined"
    await until(lambda: charlieu.authority().is_member(federation, charlieu.town))
    assert len(charlieu.authority().federations[federation].chain.steps) == 301
    await post(roanne, "Blankets")
    await post(charlieu, "Firewood")
    await agree(federation, roanne, charlieu)
    assert await titles(roanne) == await titles(charlieu) == {"Blankets", "Firewood"}


def entry(node: Daemon, federation: FederationId, key: Any, kind: str, nonce: int, **fields: Any) -> Record:
    """Sign a step or a signature, as another board of the town would, at the time of a node."""
    now_s = node.clock.now_ms() // 1_000
    return make(
        key, town=TownId(key.public), epoch=b"test", counter=nonce, stamp=now_s * 1_000 << 16, kind=kind,
        lane=Lane.URGENT, federations=[federation], born=now_s, expires=now_s + 86_400, op=Op.ENTRY,
        nonce=nonce.to_bytes(8, "big"), body=make_body(bytes(16), fields),
    )  # fmt: skip


async def shown(node: Daemon, code: str) -> str:
    """Wait until a node shows an incident; return what it says."""
    async with asyncio.timeout(WAIT_S):
        while True:
            for seen in (await node.status())["incidents"]:
                if seen["code"] == code:
                    return str(seen["says"])
            await asyncio.sleep(0.01)


async def test_who_signed_twice_and_what_was_replaced_is_shown_and_stays_shown(stewards: Stewards) -> None:
    """Through a restart, until it is put away."""
    (roanne, charlieu, renaison), federation = await three(stewards)
    told = await stewards.do(roanne, "propose", name="Roanne's wish")
    [step] = roanne.stewardship.pending()
    await until(lambda: bool(renaison.stewardship.pending()))
    assert (await stewards.do(renaison, "sign", step=step["step"]))["counts"]
    await until(lambda: roanne.authority().federations[federation].name == "Roanne's wish")
    chain = roanne.authority().federations[federation].chain
    parent, towns = chain.steps[-2].id, [bytes(node.town) for node in (roanne, charlieu, renaison)]
    keys = [await node._open_town_key(stewards.passphrases[node.town]) for node in (charlieu, renaison)]

    more: dict[str, Any] = {"parent": parent, "round": 1, "stewards": towns, "members": towns}
    wish = {"name": "Charlieu's wish", **more}
    others = (entry(roanne, federation, keys[0], STEP, nonce, **wish) for nonce in range(10_000))
    other = next(each for each in others if each.id.hex() < told["step"])
    await roanne.intake.accept([other.raw, entry(roanne, federation, keys[1], SIGN, 1, step=other.id).raw])
    assert roanne.authority().federations[federation].name == "Charlieu's wish"
    assert "Renaison signed two steps" in await shown(roanne, "double_signer")
    assert "replaced" in await shown(roanne, "step_replaced")
    await roanne.stop()
    again = await stewards.run("Roanne")
    codes = [each["code"] for each in (await stewards.do(again, "status", seen=True))["incidents"]]
    assert {"double_signer", "step_replaced"} <= set(codes)
    assert not (await again.status())["incidents"]


async def test_a_town_for_which_members_vouch_comes_in_by_the_invitation_of_one_of_them(
    stewards: Stewards,
) -> None:
    """No steward need be there; and who has not heard of it goes on with it after the first meeting."""
    roanne, charlieu = await stewards.settle("Roanne"), await stewards.settle("Charlieu")
    federation = await federate(roanne, charlieu)
    with pytest.raises(HedgerowError) as refused:
        await charlieu.invitations.invite(federation)
    assert refused.value.code == "not_steward"
    await stewards.do(roanne, "propose", vouches=2)
    await until(lambda: charlieu.authority().federations[federation].may_vouch(charlieu.town))
    renaison = await stewards.settle("Renaison")
    code, _ = await charlieu.invitations.invite(federation)
    with pytest.raises(HedgerowError) as early:
        await renaison.join(code)
    assert early.value.code == "vouches_missing"
    await stewards.do(roanne, "vouch", town=renaison.town.hex())
    await until(lambda: charlieu.authority().is_member(federation, renaison.town))
    assert (await renaison.join(code))["state"] == "joined"
    await agree(federation, roanne, charlieu, renaison)
    assert renaison.authority().federations[federation].acts.vouched == {renaison.town}
