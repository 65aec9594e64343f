"""What an operator does with the town's keys on one running node, and what each wrong word is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from node import beginnings, key_acts
from node import keys as key_files
from node.acts import ACTS
from node.beginnings import Begun, SavedKey, SavedWords, Town
from node.cli.app import run
from node.clones import CLONE
from node.config import read_settings
from node.custody import DEVICE_REVOKED, TOWN_KEY_ROTATED
from node.daemon import Daemon
from node.drafts import Desk, Draft
from node.errors import DataInUse, HedgerowError, NotCertified
from node.keys import FORMER_FILE, device_of, open_keys, town_record
from node.promises.shelf import ledger_at
from node.proposals import Change
from node.seals import profiles_of, sealing_key_of
from node.standing import TAKEN_BACK
from node.transport.auth import Badge, check_auth, make_auth
from node.transport.channel import LinkFailure
from protocol.encoding import Value
from protocol.errors import MalformedRecord, ProtocolError
from protocol.identity import DeviceKey, TownKey, new_paper
from protocol.ids import DeviceId, Lane, Op, RecordId, TownId
from protocol.paper import heard, told
from protocol.record import Record, make, open_record
from protocol.sealing import derive, seal
from sync.devices import DEVICE, ROTATE
from sync.ledger import ledger_id
from sync.membership import ADMIT, SUSPEND

assert key_acts
HASH = bytes(32)


class House:
    """A town's board that runs, and its other board, which does not: its records are brought by hand."""

    def __init__(self, daemon: Daemon, begun: Begun, other: Path) -> None:
        self.daemon = daemon
        self.begun = begun
        self.other = open_keys(other / "keys")
        self.other_data = other

    async def act(self, name: str, /, **arguments: Any) -> Any:
        """Do what a command has done."""
        return await ACTS[name](self.daemon, arguments)

    async def refused(self, name: str, /, **arguments: Any) -> HedgerowError | ProtocolError:
        """Return why an act was refused, in one line."""
        with pytest.raises((HedgerowError, ProtocolError)) as told_:
            await self.act(name, **arguments)
        assert "\n" not in str(told_.value)
        assert isinstance(told_.value, HedgerowError | ProtocolError)
        return told_.value

    async def titles(self) -> set[str]:
        """What the board shows."""
        page = await self.act("list")
        return {each["fields"]["title"] for each in page["documents"]}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Begin a town with two boards and run the first."""
    begun = await beginnings.begin(tmp_path / "one", Town("Roanne"), listen="127.0.0.1:0")
    saved = SavedKey(tmp_path / "one" / "keys" / "town.key", begun.passphrase)
    await beginnings.begin(tmp_path / "two", Town(""), saved=saved, listen="127.0.0.1:0")
    daemon = Daemon(tmp_path / "one", read_settings(tmp_path / "one"))
    await daemon.start()
    made = House(daemon, begun, tmp_path / "two")
    await daemon.intake.accept([made.other.certificate])
    await made.act("found", name="Roannais")
    yield made
    await daemon.stop()


async def by_other(house: House, title: str, **more: Any) -> Record:
    """Let the other board write something, and bring it here."""
    federation = tuple(house.daemon.authority().federations)
    draft = Draft("offer", Op.PUT, {"title": title}, federations=federation, **more)
    return await other_does(house, title, draft)


async def other_does(house: House, title: str, draft: Draft) -> Record:
    """Let the other board write a draft, and bring it here."""
    desk = Desk(house.other.device, lambda size: title.encode().ljust(size, b"x")[:size])
    [record], _ = await house.daemon.store.write(
        lambda tx: desk.sign(tx, [draft], now_ms=house.daemon.clock.now_ms(), sure=True)
    )
    await house.daemon.intake.accept([record.raw])
    return record


async def test_the_town_key_names_who_answers_when_the_board_that_did_is_lost(house: House) -> None:
    posted = await house.act("post", kind="offer", fields={"title": "Ten loaves", "quantity": "10 each"})
    document = await house.daemon.board.show(posted["address"])
    header = (await house.daemon.board.record(document)).header
    other = house.other.device.public
    wrong = await house.refused(
        "keeper", address=posted["address"], device=other.hex(), secret="no word of it"
    )
    assert "passphrase" in str(wrong)
    named = await house.act(
        "keeper", address=posted["address"], device=other.hex(), secret=house.begun.passphrase
    )
    assert named["keeper"] == other.hex()
    kept = [await house.daemon.claims.kept_by(each) for each in (other, house.daemon.intake.device)]
    assert kept == [[posted["address"]], []]
    ledger = await house.daemon.store.read(lambda reader: ledger_at(reader, ledger_id(header)))
    assert ledger is not None
    assert (ledger.keeper, ledger.n) == (other, 2)


async def test_the_devices_are_shown_with_their_states(house: House) -> None:
    shown = await house.act("key_show")
    assert [each["this"] for each in shown["devices"]].count(True) == 1
    assert {each["state"] for each in shown["devices"]} == {"certified"}
    assert (len(shown["town_keys"]), shown["clone"]) == (1, False)


async def test_a_device_is_taken_back_with_a_list_and_what_it_spoilt_comes_back(house: House) -> None:
    mine = await house.act("post", kind="offer", fields={"title": "Bread"})
    await by_other(house, "Good")
    since_ms = house.daemon.clock.now_ms() + 1
    await house.act("post", kind="offer", fields={"title": "Between"})
    document = await house.daemon.board.show(mine["address"])
    await by_other(house, "Stolen", doc=document.doc)
    device = house.other.device.public.hex()
    proposed = await house.act("key_revoke", device=device[:8], keep="since", since_ms=since_ms)
    assert (proposed["records"], proposed["done"]) == (2, False)
    assert (await house.act("key_revoke", device=device, keep="all"))["kept"] == 2
    assert (await house.act("key_revoke", device=device, keep="none"))["kept"] == 0
    words = told(key_files.open_town_key(house.daemon.data / "keys", house.begun.passphrase))
    await house.act("key_revoke", device=device, keep="since", since_ms=since_ms, secret=words)
    assert {"Bread", "Between"} <= await house.titles() and "Stolen" not in await house.titles()
    state = {each["device"]: each["state"] for each in (await house.act("key_show"))["devices"]}
    assert state[device] == "taken back"
    await by_other(house, "Later")
    assert "Later" not in await house.titles()


async def test_a_board_that_is_taken_back_cannot_read_what_is_sealed_from_then_on(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command does all that has to be done when a board was stolen."""
    town, folder = house.daemon.town, house.daemon.data / "keys"
    before = await house.daemon.store.read(lambda reader: sealing_key_of(reader, town))
    monkeypatch.setenv("HEDGEROW_PASSPHRASE", house.begun.passphrase)
    device = house.other.device.public.hex()
    typed = ["key", "revoke", device[:8], "--all", "--data", str(house.daemon.data)]
    assert await asyncio.to_thread(run, typed) == 0
    assert "This town has a new sealing key" in capsys.readouterr().out
    after = await house.daemon.store.read(lambda reader: sealing_key_of(reader, town))
    assert before != after == key_files.open_sealing_keys(folder)[-1].public
    assert house.daemon.seals.has(after) and (await house.act("status"))["sealing"] == ""
    assert (await house.act("status"))["town"]["name"] == "Roanne"


async def test_a_board_is_taken_back_also_where_no_new_sealing_key_can_be_told_or_shall_be(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    town, secret = house.daemon.town, house.begun.passphrase
    before = await house.daemon.store.read(lambda reader: sealing_key_of(reader, town))
    device = house.other.device.public.hex()
    await house.act("key_revoke", device=device, keep="all", secret=secret, reseals=False)
    assert await house.daemon.store.read(lambda reader: sealing_key_of(reader, town)) == before
    for number in range(1, key_files.SEALING_KEYS_OF_A_KEY):
        assert (await house.act("sealing_key", passphrase=secret, new=True))["index"] == number
    monkeypatch.setenv("HEDGEROW_PASSPHRASE", secret)
    typed = ["key", "revoke", device, "--none", "--data", str(house.daemon.data)]
    assert await asyncio.to_thread(run, typed) == 0
    assert "No new sealing key was taken: this town has had all 8" in capsys.readouterr().out


async def test_what_a_thief_of_the_town_key_said_of_the_town_is_not_said_again_by_the_next_key(
    house: House,
) -> None:
    """He dates his profile ahead, so that it would be the newest for a day; and where nothing is kept, the
    town keeps its name and can be sealed to."""
    store, town = house.daemon.store, house.daemon.town
    key = key_files.open_town_key(house.daemon.data / "keys", house.begun.passphrase)
    before_ms = house.daemon.clock.now_ms() + 1
    await asyncio.sleep(0.01)
    fields: dict[str, Value] = {"name": "Feurs", "helplines": ["Thief 0900 666"]}
    fields["sealing_key"] = derive(bytes(32), 0).public
    theft = town_record(key, key_files.PROFILE, fields, before_ms + 3_600_000)
    await house.daemon.intake.accept([theft.raw])
    for keep in ({"keep": "since", "since_ms": before_ms}, {"keep": "none"}):
        await house.act("key_rotate", words=house.begun.paper, **keep)
        (_, said) = (await store.read(lambda reader: profiles_of(reader, town)))[-1]
        assert said["name"] == "Roanne" and "helplines" not in said, keep
        newest = key_files.open_sealing_keys(house.daemon.data / "keys")[-1].public
        assert await store.read(lambda reader: sealing_key_of(reader, town)) == newest, keep


async def test_what_is_kept_of_a_former_key_does_not_stand_over_the_profile_of_the_next(house: House) -> None:
    """Even if it was dated ahead: the sealing key that others use is the next key's."""
    store, town = house.daemon.store, house.daemon.town
    key = key_files.open_town_key(house.daemon.data / "keys", house.begun.passphrase)
    fields: dict[str, Value] = {"name": "Roanne", "sealing_key": derive(bytes(32), 0).public}
    ahead = town_record(key, key_files.PROFILE, fields, house.daemon.clock.now_ms() + 3_600_000)
    await house.daemon.intake.accept([ahead.raw])
    await house.act("key_rotate", words=house.begun.paper, keep="all")
    newest = key_files.open_sealing_keys(house.daemon.data / "keys")[-1].public
    assert await store.read(lambda reader: sealing_key_of(reader, town)) == newest


async def test_a_time_that_lies_ahead_takes_nothing_back(house: House) -> None:
    """It would keep all that a thief has written and will write till then, for good."""
    ahead_ms = house.daemon.clock.now_ms() + 3_600_000
    device = house.other.device.public.hex()
    cases: list[tuple[str, dict[str, Any]]] = [
        ("key_revoke", {"device": device}),
        ("key_revoke", {"device": device, "secret": house.begun.passphrase}),
        ("key_rotate", {"words": house.begun.paper}),
    ]
    for name, arguments in cases:
        said = await house.refused(name, keep="since", since_ms=ahead_ms, **arguments)
        assert said.code == "invalid_request" and "lies ahead" in str(said), name
    shown = await house.act("key_show")
    assert len(shown["town_keys"]) == 1 and {each["state"] for each in shown["devices"]} == {"certified"}


async def did(house: House, kind: str, town: bytes) -> Record:
    """Let the other board admit a town, or suspend it."""
    [adopted] = house.daemon.authority().federations.values()
    ground = (adopted.chain.current.id,)
    draft = Draft(kind, fields={"town": town}, federations=(adopted.id,), cites=ground)
    return await other_does(house, f"{kind[11:]}{town.hex()[:4]}", draft)


def members(house: House) -> set[bytes]:
    """The towns that belong, but for the own one."""
    [adopted] = house.daemon.authority().federations.values()
    return {bytes(town) for town in adopted.members} - {bytes(house.daemon.town)}


async def test_a_command_that_takes_a_board_back_says_what_it_let_in_and_lets_in_again_whom_one_names(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else is let in; what is kept, or stands for another reason, is not spoken of."""
    mine, stranger, early = bytes.fromhex("ab" * 32), bytes.fromhex("cd" * 32), bytes.fromhex("ef" * 32)
    await did(house, ADMIT, early)
    since = datetime.now() + timedelta(milliseconds=5)
    await asyncio.sleep(0.02)
    for town in (mine, stranger):
        await did(house, ADMIT, town)
    await did(house, SUSPEND, early)
    device = house.other.device.public.hex()
    proposed = await house.act(
        "key_revoke", device=device, keep="since", since_ms=int(since.timestamp() * 1_000)
    )
    assert [(each["what"], each["town"][:4]) for each in proposed["falls"]] == [
        ("admission", "abab"),
        ("admission", "cdcd"),
        ("suspension", "efef"),
    ]
    assert (
        await house.refused("key_revoke", device=device, keep="none", again=["Feurs"])
    ).code == "not_found"
    monkeypatch.setenv("HEDGEROW_PASSPHRASE", house.begun.passphrase)
    typed = ["key", "revoke", device[:8], "--none", "--again", "abababab", "--data", str(house.daemon.data)]
    assert await asyncio.to_thread(run, typed) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == (
        "What that key did in federations falls with it: admission of cdcdcdcd (Roannais), admission of"
        " efefefef (Roannais), suspension of efefefef (Roannais); do it again with hedgerow federation"
        " invite, propose --add or suspend."
    )
    assert said[2] == "This board has done again: admission of abababab (Roannais)."
    assert members(house) == {mine}


async def test_the_next_key_says_what_falls_that_other_boards_did(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this board did stays, whatever is kept of the former key."""
    [adopted] = house.daemon.authority().federations.values()
    this, other = bytes.fromhex("ab" * 32), bytes.fromhex("cd" * 32)
    await did(house, ADMIT, other)
    await house.daemon.intake.post([Draft(ADMIT, fields={"town": this}, federations=(adopted.id,))])
    assert members(house) == {this, other}
    monkeypatch.setenv("HEDGEROW_WORDS", house.begun.paper)
    typed = ["key", "rotate", "--none", "--data", str(house.daemon.data)]
    assert await asyncio.to_thread(run, typed) == 0
    assert "falls with it: admission of cdcdcdcd (Roannais); do it again" in capsys.readouterr().out
    assert members(house) == {this}


async def test_the_next_key_keeps_what_the_town_decided_but_for_what_a_thief_did(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing else is kept; what is voided falls where nobody else stands for it."""
    [adopted] = house.daemon.authority().federations.values()
    secret, thief = house.begun.passphrase, TownId(bytes.fromhex("ab" * 32))
    honest = await house.daemon.stewardship.propose(adopted.id, Change(vouches=3), secret)
    coup = await house.daemon.stewardship.propose(adopted.id, Change(raise_=frozenset({thief})), secret)

    def current() -> RecordId:
        return house.daemon.authority().federations[adopted.id].chain.current.id

    assert current() == coup
    monkeypatch.setenv("HEDGEROW_WORDS", house.begun.paper)
    typed = ["key", "rotate", "--none", "--data", str(house.daemon.data), "--void"]
    for wrong in ("abc", "0000", "zz"):
        assert await asyncio.to_thread(run, [*typed, wrong]) == 1
        assert "steps that this town has signed begin with" in capsys.readouterr().err
    assert await asyncio.to_thread(run, [*typed, coup.hex()[:12]]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("of the former one 1 record stay valid.")
    assert said[1].startswith(f"This town's votes stay for step {honest.hex()[:8]} of Roannais (")
    assert said[2].startswith(f"This town's votes end for step {coup.hex()[:8]} of Roannais (")
    assert f"and all that rests on them, fall step {coup.hex()[:8]}" in said[2]
    assert current() == honest
    passphrase = (await house.act("key_rotate", words=house.begun.paper, keep="none"))["passphrase"]
    assert current() == honest, "the next rotation keeps it too, and still not what was voided"
    assert await house.daemon.stewardship.propose(adopted.id, Change(vouches=2), passphrase) == current()


async def test_taking_a_device_back_leaves_the_town_in_its_federations(house: House) -> None:
    """Also when it alone had consented, or written the charter."""
    device = open_keys(house.daemon.data / "keys").device.public.hex()
    other = Daemon(house.other_data, read_settings(house.other_data))
    rows = await house.daemon.store.read(lambda reader: reader.export(0, 100))
    await other.start()
    try:
        await other.intake.accept([raw for _, raw in rows])
        assert other.authority().federations
        arguments = {"device": device, "keep": "none", "secret": house.begun.passphrase}
        await ACTS["key_revoke"](other, arguments)
        assert other.authority().federations
    finally:
        await other.stop()


async def test_what_cannot_be_taken_back_is_refused_in_one_line(house: House) -> None:
    device = house.other.device.public.hex()
    this = house.daemon.keys.device.public.hex()
    secret = house.begun.passphrase
    cases = [
        ({"device": "ffff", "keep": "all"}, "not_found"),
        ({"device": device[:3], "keep": "all"}, "not_found"),
        ({"device": device}, "invalid_request"),
        ({"device": device, "keep": "since"}, "invalid_request"),
        ({"keep": "all"}, "invalid_request"),
        ({"device": this, "keep": "all", "secret": secret}, "own_device"),
        ({"device": device, "keep": "all", "secret": "six words that open no key"}, "wrong_passphrase"),
        ({"device": device, "keep": "all", "secret": " ".join(["zoo"] * 24)}, "wrong_words"),
        ({"device": device, "keep": "all", "secret": told(TownKey(bytes(32)))}, "former_town_key"),
    ]
    for arguments, code in cases:
        assert (await house.refused("key_revoke", **arguments)).code == code, arguments
    assert {each["state"] for each in (await house.act("key_show"))["devices"]} == {"certified"}


async def test_the_next_key_takes_over_six_times_and_each_passphrase_opens_it(house: House) -> None:
    bread = await house.act("post", kind="offer", fields={"title": "Bread"})
    folder = house.daemon.data / "keys"
    for generation in range(1, 7):
        made = await house.act("key_rotate", words=house.begun.paper, keep="all")
        opened = key_files.open_town_key(folder, made["passphrase"])
        assert (opened.generation, opened.public.hex()) == (generation, made["town_key"])
        assert bytes(opened.town) == house.daemon.town
        keys = open_keys(folder)
        assert device_of(keys.certificate, keys.rotation) == (house.daemon.town, keys.device.public)
        assert "Bread" in await house.titles()
    assert (await house.refused("key_rotate", words=house.begun.paper, keep="all")).code == "no_next_key"
    device = house.other.device.public.hex()
    told_ = await house.refused("key_revoke", device=device, keep="all", secret=house.begun.passphrase)
    assert told_.code == "wrong_passphrase"
    shown = await house.act("key_show")
    assert len(shown["town_keys"]) == 7 and {each["state"] for each in shown["devices"]} == {"certified"}
    await house.act("edit", address=bread["address"], fields={"title": "Rye bread"})
    assert (await house.act("status"))["town"]["name"] == "Roanne"


async def test_a_rotation_takes_a_sealing_key_that_the_thief_has_not_and_opens_what_was_sealed_before(
    house: House,
) -> None:
    """The profile tells the new one; whoever has the file, or only the present town key, has all of them."""
    folder, town = house.daemon.data / "keys", house.daemon.town
    [first] = key_files.open_sealing_keys(folder)
    fields: dict[str, Value] = {"target": bytes(16), "ledger": bytes(16), "milli": 9, "unit": "each"}
    chance = bytes(range(32))
    sealed = seal(fields, [(town, first.public)], town=town, kind="claim", salt=bytes(16), chance=chance)
    made = await house.act("key_rotate", words=house.begun.paper, keep="all")
    key = key_files.open_town_key(folder, made["passphrase"])
    kept = key_files.open_sealing_keys(folder)
    assert (kept[0].id, kept[-1].id) == (first.id, derive(key.seed, 0).id)
    assert await house.daemon.store.read(lambda reader: sealing_key_of(reader, town)) == kept[-1].public
    claim = make(
        house.daemon.keys.device, town=town, epoch=bytes(4), counter=1, stamp=1, kind="claim",
        lane=Lane.EVERYDAY, born=1, expires=2, nonce=bytes(8), op=Op.PUT, body=sealed,
    )  # fmt: skip
    assert house.daemon.seals.open(claim) == fields
    (folder / key_files.SEALING_FILE).unlink()
    most = key_files.SEALING_KEYS_OF_A_KEY
    again = await house.act("sealing_key", passphrase=made["passphrase"])
    assert again == {"index": most} and len(key_files.open_sealing_keys(folder)) == most + 1
    assert (await house.act("sealing_key", passphrase=made["passphrase"], new=True)) == {"index": most + 1}


async def test_words_of_another_paper_or_of_no_paper_let_no_key_take_over(house: House) -> None:
    key = key_files.open_town_key(house.daemon.data / "keys", house.begun.passphrase)
    stranger = told(TownKey(new_paper(bytes(16)), 7))
    for words, says in (
        (told(key), "a town key"),
        (stranger, "another town"),
        (house.begun.paper.rsplit(" ", 1)[0], "24 words"),
    ):
        assert says in str(await house.refused("key_rotate", words=words, keep="none"))
    assert len((await house.act("key_show"))["town_keys"]) == 1


async def test_people_are_told_in_one_sentence_what_was_taken_back(house: House) -> None:
    device = house.other.device.public.hex()
    await house.act("key_revoke", device=device, keep="none", secret=house.begun.passphrase)
    await house.act("key_rotate", words=house.begun.paper, keep="all")
    await house.daemon._tell_of_keys(  # as the commit has it done, and once more: it is said once
        type(house.daemon.authority())(house.daemon.town), house.daemon.authority()
    )
    seen = [each["code"] for each in (await house.act("status"))["incidents"]]
    assert sorted(seen) == [DEVICE_REVOKED, TOWN_KEY_ROTATED]


async def test_a_board_whose_key_was_taken_back_says_so_and_gets_a_new_one(house: House) -> None:
    key = key_files.open_town_key(house.daemon.data / "keys", house.begun.passphrase)
    this = house.daemon.keys.device.public
    revoke = town_record(key, "town.revoke", {"device": this}, house.daemon.clock.now_ms())
    await house.daemon.intake.accept([revoke.raw])
    status = await house.act("status")
    assert status["keys"] == {"clone": False, "taken_back": True, "says": TAKEN_BACK}
    with pytest.raises(NotCertified):
        await house.act("post", kind="offer", fields={"title": "For nothing"})
    with pytest.raises(DataInUse, match="this board's own node runs: stop it first"):
        await beginnings.renew_device(house.daemon.data, house.begun.passphrase)


async def test_the_other_of_two_boards_gets_a_new_key_and_keeps_its_former_one_beside(house: House) -> None:
    data = house.other_data
    new = await beginnings.renew_device(data, house.begun.passphrase)
    assert new == open_keys(data / "keys").device.public != house.other.device.public
    assert (data / "keys" / FORMER_FILE).exists()
    with pytest.raises(HedgerowError, match="does not open"):
        await beginnings.renew_device(data, "no passphrase")
    await house.daemon.store.write(lambda tx: tx.set_meta(CLONE, b"twin"))
    house.daemon.clones.is_found = True
    assert "another board" in (await house.act("status"))["keys"]["says"].lower()
    assert await house.act("key_clone") == {"settled": True}
    assert (await house.act("status"))["keys"]["says"] == ""


async def test_a_board_gets_a_new_key_after_another_town_key_has_taken_over(house: House) -> None:
    """Whatever comes between: what failed leaves no certificate behind, what was begun is gone on with."""
    data, folder = house.other_data, house.other_data / "keys"
    made = await house.act("key_rotate", words=house.begun.paper, keep="all")
    key = key_files.open_town_key(house.daemon.data / "keys", made["passphrase"])
    rows = await house.daemon.store.read(lambda reader: reader.export(0, 100))

    async def devices(*, words: str = "") -> set[str]:
        """Let the other board run, take in the key of today if there are words, and tell what it knows."""
        board = Daemon(data, read_settings(data))
        await board.start()
        try:
            await board.intake.accept([raw for _, raw in rows])
            if words:
                made.update(await ACTS["key_adopt"](board, {"words": words}))
            return {each["device"] for each in await board.custody.devices()}
        finally:
            await board.stop()

    before = await devices()
    with pytest.raises(HedgerowError) as told_:
        await beginnings.renew_device(data, house.begun.passphrase)
    assert told_.value.code == "former_town_key" and open_keys(folder).device.seed == house.other.device.seed
    assert await devices(words=told(key)) == before
    # The machine stops before the certificate is in the store, and after.
    begun = key_files.begin_renewal(folder, key, house.daemon.clock.now_ms()).device.public
    assert await beginnings.renew_device(data, made["passphrase"]) == begun
    (folder / key_files.DEVICE_FILE).replace(folder / key_files.NEXT_FILE)
    assert await beginnings.renew_device(data, made["passphrase"]) == begun
    assert open_keys(folder).device.public == begun and await devices() == before | {begun.hex()}


async def test_a_backup_is_written_beside_the_running_node(house: House, tmp_path: Path) -> None:
    made = await house.act("backup", file=str(tmp_path / "b.tar"), with_keys=True)
    assert made["keys"] and made["bytes"] == (tmp_path / "b.tar").stat().st_size
    assert json.dumps(made)


async def test_a_town_begins_on_another_machine_from_its_words_or_its_paper(
    house: House, tmp_path: Path
) -> None:
    await house.act("key_rotate", words=house.begun.paper, keep="all")
    for number, words in enumerate(
        (house.begun.paper, told(TownKey(heard(house.begun.paper).seed, 7).former()))
    ):
        saved = SavedWords(words)
        again = await beginnings.begin(tmp_path / f"again{number}", Town(""), saved=saved)
        assert again.town == house.daemon.town and again.passphrase


def chain() -> tuple[TownKey, DeviceKey, bytes, bytes]:
    """A later town key, a device, its certificate and the rotation that shows the key."""
    key, device = TownKey.next_of(new_paper(bytes(16)), 2), DeviceKey(bytes(range(32)))
    certificate = town_record(key, DEVICE, {"device": device.public}, 10**12)
    rotation = town_record(key, ROTATE, {"succession": list(key.succession)}, 10**12)
    return key, device, certificate.raw, rotation.raw


def test_auth_shows_the_rotation_of_a_later_town_key_and_fails_without() -> None:
    key, device, certificate, rotation = chain()
    frame = make_auth(Badge(device, certificate, (), rotation), HASH, initiator=True)
    identity = check_auth(frame, HASH, initiator=True, town_of=lambda device: None)
    assert (bytes(identity.town), identity.rotation) == (key.town, rotation)
    other = TownKey.next_of(new_paper(bytes(range(16))), 2)
    alien = town_record(other, ROTATE, {"succession": list(other.succession)}, 10**12).raw
    unproved = town_record(key, ROTATE, {"succession": []}, 10**12).raw
    for bad in (b"", alien, unproved, certificate, b"no record"):
        frame = make_auth(Badge(device, certificate, (), bad), HASH, initiator=True)
        with pytest.raises(LinkFailure) as told_:
            check_auth(frame, HASH, initiator=True, town_of=lambda device: None)
        assert told_.value.code == "bad_certificate"


def test_a_certificate_of_a_later_key_needs_its_rotation() -> None:
    key, device, certificate, rotation = chain()
    assert device_of(certificate, rotation) == (key.town, device.public)
    with pytest.raises(MalformedRecord, match="nothing shows"):
        device_of(certificate)
    assert DeviceId(open_record(rotation).header.device) == key.public
