"""Two boards of one town: what the one does with the town's keys, the other hears of, says, and mends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from node import beginnings, key_acts
from node import keys as key_files
from node.acts import ACTS
from node.beginnings import Begun, SavedKey, SavedWords, Town
from node.config import read_settings
from node.daemon import Daemon
from node.errors import HedgerowError, NotCertified
from node.intake import Draft
from node.seals import sealing_key_of
from node.standing import BEHIND, LACKS_SEALING_KEY, LEFT_OUT, TAKEN_BACK, UNTOLD, WITHDRAWN
from node.transport.dialer import Reach
from protocol.encoding import Value
from protocol.ids import DocId, Op
from protocol.paper import told
from protocol.record import make, open_record
from tests.node.test_daemon import Valley, federate, post, titles, until

assert key_acts
LEDGER = DocId(b"l" * 16)


class Boards:
    """The two boards, which hear of each other when a test lets them."""

    def __init__(self, folder: Path, begun: Begun, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.begun = begun
        self.stack = stack

    async def run(self, name: str) -> Daemon:
        """Run a board."""
        node = Daemon(self.folder / name, read_settings(self.folder / name))
        await node.start()
        self.stack.push_async_callback(node.stop)
        return node

    async def share(self, one: Daemon, other: Daemon) -> None:
        """Let two boards have what the other holds."""
        for here, there in ((one, other), (other, one)):
            rows = await here.store.read(lambda reader: reader.export(0, 1_000))
            await there.intake.accept([raw for _, raw in rows])


@pytest.fixture
async def boards(tmp_path: Path) -> AsyncIterator[tuple[Boards, Daemon, Daemon]]:
    """A town with two boards that know of each other."""
    async with AsyncExitStack() as stack:
        begun = await beginnings.begin(tmp_path / "one", Town("Roanne"), listen="127.0.0.1:0")
        made = Boards(tmp_path, begun, stack)
        saved = SavedKey(tmp_path / "one" / "keys" / "town.key", begun.passphrase)
        await beginnings.begin(tmp_path / "two", Town(""), saved=saved, listen="127.0.0.1:0")
        one, two = await made.run("one"), await made.run("two")
        await made.share(one, two)
        yield made, one, two


async def act(node: Daemon, name: str, /, **arguments: Any) -> Any:
    """Do what a command has done."""
    return await ACTS[name](node, arguments)


async def says(node: Daemon) -> tuple[str, str]:
    """What `status` says of the board's key, and of what is sealed to its town."""
    status = await node.status()
    return status["keys"]["says"], status["sealing"]


async def claim(node: Daemon) -> DocId:
    """Let a board claim something of its own town, sealed to the newest key that it has."""
    fields: dict[str, Value] = {"target": bytes(16), "ledger": LEDGER, "milli": 1_000, "unit": "each"}
    return (await node.intake.post([Draft("claim", fields=fields)]))[0].doc


async def test_a_new_sealing_key_is_missed_on_the_other_board_until_one_command_fetches_it(
    boards: tuple[Boards, Daemon, Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had come before the key is seen at once: nobody has to start the board again."""
    town, one, two = boards
    looked, look_at_all = set[DocId](), two.keeper.all

    async def noted() -> set[DocId]:
        found = await look_at_all()
        looked.update(found)
        return found

    assert await says(one) == await says(two) == ("", "")
    await act(one, "sealing_key", passphrase=town.begun.passphrase, new=True)
    asked = await claim(one)
    await town.share(one, two)
    assert await says(one) == ("", "")
    assert await says(two) == ("", LACKS_SEALING_KEY)
    register = two.claims.register
    await register.catch_up()
    assert register.claims_of(LEDGER) == ()
    monkeypatch.setattr(two.keeper, "all", noted)
    assert await act(two, "sealing_key", passphrase=town.begun.passphrase) == {"index": 1}
    assert await says(two) == ("", "")
    await register.catch_up()
    assert register.claims_of(LEDGER) == (asked,)
    # It may have done so by itself meanwhile.
    looked |= await two.keeper._which()()
    assert LEDGER in looked, "the keeper looks at all ledgers once more"


async def test_a_town_key_that_took_over_elsewhere_is_adopted_by_its_words(
    boards: tuple[Boards, Daemon, Daemon],
) -> None:
    town, one, two = boards
    made = await act(one, "key_rotate", words=town.begun.paper, keep="all")
    await town.share(one, two)
    assert await says(two) == (BEHIND, "")
    asked = await claim(one)
    await town.share(one, two)
    kept = (two.data / "keys" / key_files.SEALING_FILE).read_bytes()
    for passphrase in (town.begun.passphrase, made["passphrase"]):
        with pytest.raises(HedgerowError, match="hedgerow key adopt") as refused:
            await act(two, "sealing_key", passphrase=passphrase)
        assert refused.value.code == "former_town_key"
    assert (await act(two, "key_show"))["says"] == BEHIND
    assert (two.data / "keys" / key_files.SEALING_FILE).read_bytes() == kept
    words = told(key_files.open_town_key(one.data / "keys", made["passphrase"]))
    adopted = await act(two, "key_adopt", words=words)
    assert await says(two) == ("", "")
    opened = key_files.open_town_key(two.data / "keys", adopted["passphrase"])
    assert opened.public.hex() == made["town_key"]
    await two.claims.register.catch_up()
    assert two.claims.register.claims_of(LEDGER) == (asked,)
    certificate = open_record(key_files.open_keys(two.data / "keys").certificate)
    assert certificate.header.device == opened.public
    await act(two, "key_adopt", words=words)
    assert open_record(two.custody.keys.certificate).id == certificate.id, "twice makes no second certificate"


async def test_a_board_that_a_rotation_left_out_comes_back_by_the_same_words_whatever_it_has_heard(
    boards: tuple[Boards, Daemon, Daemon],
) -> None:
    town, one, two = boards
    made = await act(one, "key_rotate", words=town.begun.paper, keep="none")
    words = told(key_files.open_town_key(one.data / "keys", made["passphrase"]))
    for wrong in (town.begun.paper, told(key_files.open_town_key(two.data / "keys", town.begun.passphrase))):
        with pytest.raises(HedgerowError) as refused:
            await act(one, "key_adopt", words=wrong)
        assert refused.value.code in ("wrong_words", "former_town_key")
    third = SavedWords(told(key_files.open_town_key(two.data / "keys", town.begun.passphrase)))
    await beginnings.begin(town.folder / "three", Town(""), saved=third, listen="127.0.0.1:0")
    three = await town.run("three")
    await act(three, "key_adopt", words=words)  # it has heard of nothing
    await town.share(one, two)
    assert await says(two) == (LEFT_OUT, "")
    with pytest.raises(NotCertified):
        await act(two, "post", kind="offer", fields={"title": "For nothing"}, audience="town")
    await act(two, "key_adopt", words=words)
    assert await says(two) == ("", "")
    await town.share(three, two)
    for node in (two, three):
        await act(node, "post", kind="offer", fields={"title": f"By {node.data.name}"}, audience="town")
        await town.share(node, one)
    assert {"By two", "By three"} <= await titles(one)


async def test_a_board_whose_certificate_was_withdrawn_says_what_to_do(
    boards: tuple[Boards, Daemon, Daemon],
) -> None:
    town, _, two = boards
    key = key_files.open_town_key(two.data / "keys", town.begun.passphrase)
    first = open_record(two.keys.certificate).header
    gone = make(
        key, town=first.town, epoch=b"next", counter=1, stamp=first.stamp + 1, kind=first.kind,
        lane=first.lane, born=first.born, expires=first.expires, nonce=first.nonce, op=Op.DELETE,
    )  # fmt: skip
    await two.intake.accept([gone.raw])
    assert await says(two) == (WITHDRAWN, "")


async def test_a_board_that_is_described_anew_tells_no_sealing_key_that_a_thief_may_have(
    boards: tuple[Boards, Daemon, Daemon],
) -> None:
    """`init --key` knows the town key only, not how many sealing keys were taken of it since."""
    town, one, _ = boards
    await act(one, "sealing_key", passphrase=town.begun.passphrase, new=True)
    newest = await one.store.read(lambda reader: sealing_key_of(reader, one.town))
    saved = SavedKey(one.data / "keys" / "town.key", town.begun.passphrase)
    described = Town("Roanne-le-Haut", 46.0, 4.0, "fr")
    await beginnings.begin(town.folder / "three", described, saved=saved, listen="127.0.0.1:0")
    three = await town.run("three")
    assert await says(three) == ("", UNTOLD)
    await town.share(one, three)
    assert (await one.status())["town"]["name"] == "Roanne-le-Haut"
    for node in (one, three):
        assert await node.store.read(lambda reader: sealing_key_of(reader, reader.own_town)) == newest
    assert await says(three) == ("", LACKS_SEALING_KEY)
    await act(three, "sealing_key", passphrase=town.begun.passphrase)
    assert await says(three) == ("", "")
    assert await one.store.read(lambda reader: sealing_key_of(reader, reader.own_town)) == newest


async def test_a_board_that_never_heard_of_its_revocation_is_shown_it_by_any_honest_node(
    tmp_path: Path,
) -> None:
    """Signed by its own town, so that nobody has to be believed."""
    async with AsyncExitStack() as stack:
        valley = Valley(tmp_path, stack)
        one, charlieu = await valley.settle("Roanne"), await valley.settle("Charlieu")
        federation = await federate(one, charlieu)
        secret = valley.town_secrets["Roanne"]
        saved = SavedKey(one.data / "keys" / "town.key", secret)
        await beginnings.begin(tmp_path / "two", Town(""), saved=saved, listen="127.0.0.1:0")
        two = await valley.run("two")
        device = two.intake.device
        await two.add_peer(charlieu.urls[0], approve=True)
        await until(lambda: federation in two.authority().federations)
        await until(lambda: one.authority().is_certified(one.town, device))
        await two.stop()
        await act(one, "key_revoke", device=device.hex(), keep="all", secret=secret)
        await until(lambda: charlieu.authority().is_taken_back(one.town, device))
        await one.stop()
        two = await valley.run("two")
        await until(lambda: two.authority().is_taken_back(two.town, device))
        assert await says(two) == (TAKEN_BACK, "")
        with pytest.raises(NotCertified):
            await post(two, "For nothing")
        assert charlieu.links.reach(two.town) is Reach.DOWN
