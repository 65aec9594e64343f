"""The operator's acts over the control socket of a real node."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from node import neighbours
from node.acts import ACTS, NETWORK_URLS_MAX, network_urls, page_url
from node.beginnings import Town, begin
from node.cli import client
from node.cli.client import Refused
from node.config import Settings, Web
from node.daemon import Daemon
from node.keys import open_sealing_keys
from node.seals import profiles_of
from node.transport.interfaces import network_addresses
from protocol.ids import TownId


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Daemon]:
    """A running node of one town."""
    data = tmp_path / "data"
    await begin(data, Town("Roanne", 46.03624, 4.06802))
    daemon = Daemon(data, Settings(web=Web(listen="127.0.0.1:0")))
    await daemon.start()
    yield daemon
    await daemon.stop()


async def ask(node: Daemon, act: str, **arguments: Any) -> Any:
    """Speak to the node as a command does."""
    return await asyncio.to_thread(client.ask, node.data, act, arguments)


async def refused(node: Daemon, act: str, **arguments: Any) -> dict[str, Any]:
    """Return the problem document of an act that is refused."""
    with pytest.raises(Refused) as caught:
        await ask(node, act, **arguments)
    assert "\n" not in str(caught.value)
    return dict(caught.value.problem)


async def test_the_socket_is_for_its_owner_alone_and_gone_when_the_node_is(node: Daemon) -> None:
    assert stat.S_IMODE(node.control_path.stat().st_mode) == 0o600
    assert node.control_path == node.data / "control.sock"
    await node.stop()
    assert not node.control_path.exists()
    with pytest.raises(client.NodeNotRunning):
        await ask(node, "status")


async def test_the_sealing_key_is_put_back_and_renewed_with_the_town_keys_words(tmp_path: Path) -> None:
    data = tmp_path / "data"
    begun = await begin(data, Town("Roanne", 46.03624, 4.06802))
    file = data / "keys" / "sealing.key"
    first = file.read_text()
    file.unlink()
    node = Daemon(data, Settings(web=Web(listen="127.0.0.1:0")))
    await node.start()

    async def told() -> tuple[int, int]:
        """How many profiles are held, and the index of the key that the newest tells."""
        profiles = await node.store.read(lambda reader: profiles_of(reader, node.town))
        keys = [key.public for key in open_sealing_keys(data / "keys")]
        return len(profiles), keys.index(profiles[-1][1]["sealing_key"])  # type: ignore[arg-type]  # bytes

    try:
        assert (await refused(node, "sealing_key", passphrase="other words"))["code"] == "wrong_passphrase"
        assert await ask(node, "sealing_key", passphrase=begun.passphrase) == {"index": 0}
        assert file.read_text() == first and await told() == (1, 0)
        assert (await node.status())["sealing"] == ""
        assert await ask(node, "sealing_key", passphrase=begun.passphrase, new=True) == {"index": 1}
        assert file.read_text().startswith(first) and await told() == (2, 1)
        assert await ask(node, "sealing_key", passphrase=begun.passphrase) == {"index": 1}
        profiles = await node.store.read(lambda reader: profiles_of(reader, node.town))
        assert {**profiles[0][1], "sealing_key": b""} == {**profiles[1][1], "sealing_key": b""}

        # The town's name and its place are said anew, and the key goes on standing beside them.
        was = await ask(node, "town")
        assert (was["name"], was["where.lat"]) == ("Roanne", "46.03624")
        renamed = {"name": "Roanne-le-Coteau", "where.lat": "46.05", "helplines": "Doctor 04 77"}
        wrong = await refused(node, "town", form=renamed, passphrase="other words")
        assert wrong["code"] == "wrong_passphrase"
        said = await ask(node, "town", form=renamed, passphrase=begun.passphrase)
        assert said == was | renamed == await ask(node, "town")
        profiles = await node.store.read(lambda reader: profiles_of(reader, node.town))
        assert (await told())[1] == 1
        assert (await node.status())["town"]["name"] == "Roanne-le-Coteau"
        emptied = {name: "" for name in was if name.startswith("where.")}
        said = await ask(node, "town", form=emptied, passphrase=begun.passphrase)
        assert "where.lat" not in said
        placed = {"where.lat": "46.05", "where.lon": "4.07"}
        said = await ask(node, "town", form=placed, passphrase=begun.passphrase)
        assert said["where.name"] == "Roanne-le-Coteau"
        for form, code in ({"mayor": "Anne"}, "invalid_request"), ({"name": ""}, "invalid_field"):
            assert (await refused(node, "town", form=form, passphrase=begun.passphrase))["code"] == code
    finally:
        await node.stop()


async def test_a_data_directory_with_a_long_path_has_its_socket_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    data = tmp_path / ("deep" * 30)
    await begin(data, Town("Roanne"))
    daemon = Daemon(data, Settings(web=Web(listen="127.0.0.1:0")))
    await daemon.start()
    try:
        assert daemon.control_path.is_relative_to(runtime)
        assert (await ask(daemon, "status"))["town"]["name"] == "Roanne"
    finally:
        await daemon.stop()


async def test_status_has_what_programs_rely_on(node: Daemon) -> None:
    await ask(node, "found", name="Roannais")
    status = await ask(node, "status")
    assert status["town"] == {"id": node.town.hex(), "name": "Roanne"}
    assert set(status["clock"]) >= {"now_ms", "sure"}
    assert {"version", "records", "documents", "disk_bytes", "federations", "peers"} <= set(status)
    federation = status["federations"][0]
    assert (federation["name"], federation["members"]) == ("Roannais", 1)
    assert set(federation["lanes"]) == {"urgent", "everyday", "library"}
    assert all({"records", "digest"} <= set(lane) for lane in federation["lanes"].values())


async def test_a_document_is_posted_shown_changed_found_and_withdrawn(node: Daemon) -> None:
    form = {
        "title": "Ten loaves",
        "quantity": "10",
        "where.name": "Quay",
        "where.lat": "46.1",
        "where.lon": "4.1",
    }
    posted = await ask(node, "post", kind="offer", form=form, by="anne")
    shown = await ask(node, "show", address=posted["address"].lower())
    assert shown["fields"]["title"] == "Ten loaves"
    assert shown["fields"]["by"] == "anne"
    edited = await ask(
        node, "edit", address=posted["address"], form={"title": "Nine loaves", "where.name": "Mill"}
    )
    assert edited["address"] == posted["address"]
    after = await ask(node, "show", address=posted["address"])
    assert after["fields"]["title"] == "Nine loaves"
    assert after["fields"]["where"]["name"] == "Mill"
    assert after["fields"]["where"]["lat"] == shown["fields"]["where"]["lat"]
    assert after["fields"]["quantity"] == shown["fields"]["quantity"]
    for query in ({"q": "NINE loaves"}, {"kind": "offer"}, {"town": "roanne"}, {"near": "46.1,4.1,1"}):
        found = await ask(node, "list", **query)
        assert [document["address"] for document in found["documents"]] == [posted["address"]], query
    assert (await ask(node, "list", kind="need"))["documents"] == []
    await ask(node, "withdraw", address=posted["address"])
    assert (await refused(node, "show", address=posted["address"]))["code"] == "not_found"


async def test_a_document_is_shown_to_people_as_it_was_typed(node: Daemon) -> None:
    form = {"title": "Sourdough", "steps": "Mix.\nWait.", "quantity": "2.5 kg"}
    practice = {name: form[name] for name in ("title", "steps")}
    offer = {name: form[name] for name in ("title", "quantity")}
    for kind, typed in (("practice", practice), ("offer", offer)):
        posted = await ask(node, "post", kind=kind, form=typed)
        assert "form" not in await ask(node, "show", address=posted["address"])
        shown = (await ask(node, "show", address=posted["address"], form=True))["form"]
        assert typed.items() <= shown.items()


async def test_an_edit_by_json_sets_fields_and_null_takes_one_away(node: Daemon) -> None:
    posted = await ask(node, "post", kind="offer", fields={"title": "Ladder", "text": "Long."})
    await ask(node, "edit", address=posted["address"], fields={"text": None, "title": "Short ladder"})
    fields = (await ask(node, "show", address=posted["address"]))["fields"]
    assert fields["title"] == "Short ladder"
    assert "text" not in fields


async def test_an_edit_of_what_has_moved_on_is_refused(node: Daemon) -> None:
    posted = await ask(node, "post", kind="offer", fields={"title": "Ladder"})
    await ask(node, "edit", address=posted["address"], form={"title": "Ladder, 3 m"})
    problem = await refused(
        node, "edit", address=posted["address"], form={"title": "Ladder, 4 m"}, based_on=posted["id"]
    )
    assert (problem["code"], problem["status"]) == ("stale_edit", 409)
    assert problem["detail"].endswith(": look with hedgerow show, then edit again")


async def test_the_same_nonce_posts_once(node: Daemon) -> None:
    nonce = "00112233445566ff"
    posted = [
        await ask(node, "post", kind="offer", fields={"title": "Ladder"}, nonce=nonce) for _ in range(2)
    ]
    assert posted[0] == posted[1]


async def test_an_import_takes_json_and_forms_and_what_was_exported(node: Daemon) -> None:
    lines = [
        json.dumps({"kind": "offer", "fields": {"title": "Ten loaves"}}),
        json.dumps({"kind": "need", "form": {"title": "Sand", "quantity": "2.5 kg"}}),
        json.dumps({"kind": "need", "form": {"title": "Sand", "quantity": "some"}}),
        "{",
    ]
    answer = await ask(node, "import", lines=lines)
    assert (answer["posted"], answer["refused"]) == (2, 2)
    assert [line["line"] for line in answer["lines"]] == [3, 4]
    exported = [line async for line in _lines(node)]
    again = await ask(node, "import", lines=exported)
    assert (again["refused"], again["posted"]) == (0, 0)
    assert again["already"] == len(exported) == 6, "certificate, profile, two posts and their ledgers"
    assert again["held"] == 0


async def _lines(node: Daemon) -> AsyncIterator[str]:
    for line in await asyncio.to_thread(lambda: list(client.lines(node.data, "export", {}))):
        yield line


async def test_federations_are_founded_listed_and_invited_to(node: Daemon) -> None:
    founded = await ask(node, "found", name="Roannais")
    assert (await ask(node, "federations"))[0]["id"] == founded["id"]
    assert [row["own"] for row in await ask(node, "members", federation="roannais")] == [True]
    invitation = await ask(node, "invite", url="http://roanne.example:8460")
    assert set(invitation) == {"code", "expires"}
    assert (await refused(node, "invite"))["status"] == 400, "nobody knows an address of this node"
    assert (await refused(node, "members", federation="elsewhere"))["code"] == "not_found"


async def test_tokens_links_and_residents_are_made(node: Daemon) -> None:
    made = await ask(node, "token", name="printer")
    session = node.accounts.bearer(made["token"])
    assert session is not None and session.name == "printer"
    assert (await ask(node, "token", name="printer", revoke=True)) == {"revoked": 1}
    assert (await refused(node, "token", name="printer", revoke=True))["status"] == 404
    link = await ask(node, "token", name="operator", page=True)
    assert link["url"].startswith(f"{page_url(node)}/sign-in?token=")
    assert link["network_urls"] == [], "it is served to this machine only"
    served, node.address = node.address, ("0.0.0.0", 8460)
    assert network_urls(node) == [f"http://{each}:8460" for each in network_addresses()[:NETWORK_URLS_MAX]]
    node.address = served
    await ask(node, "resident_add", name="Anne", pin="246810")
    assert await node.accounts.names() == ["Anne"]


async def test_the_pin_of_an_account_is_replaced_only_where_that_is_asked(node: Daemon) -> None:
    await ask(node, "resident_add", name="Marie", pin="246810")
    problem = await refused(node, "resident_add", name="marie", pin="135791")
    assert (problem["code"], problem["status"]) == ("name_taken", 409)
    assert (await node.accounts.sign_in("Marie", "246810")).cookie
    assert (await ask(node, "resident_add", name="marie", pin="135791", new_pin=True))["name"] == "Marie"
    assert (await node.accounts.sign_in("Marie", "135791")).cookie
    assert (await refused(node, "resident_add", name="Paul", pin="135791", new_pin=True))["status"] == 404


async def test_a_neighbour_that_is_down_is_said_at_once(
    node: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = TownId(b"\x07" * 32)
    await node.peers.approve(town, name="Charlieu", urls=["http://127.0.0.1:1"])
    monkeypatch.setattr(neighbours, "REACH_S_MAX", 3_600.0)
    problem = await refused(node, "sync", peer="Charlieu")
    rows = (await ask(node, "sync"))["peers"]
    assert problem["code"] == "unreachable"
    assert problem["detail"].startswith("Charlieu cannot be reached: ")
    assert "calling it fails" in rows[0]["says"]


async def test_a_neighbour_that_only_calls_us_cannot_be_called(node: Daemon) -> None:
    await node.peers.approve(TownId(b"\x07" * 32), name="Charlieu")
    assert "no address of it is known" in (await refused(node, "sync", peer="Charlieu"))["detail"]


@pytest.mark.parametrize(
    ("act", "arguments", "code"),
    [
        ("fly", {}, "invalid_request"),
        ("post", {}, "invalid_request"),
        ("post", {"kind": "offr"}, "unknown_kind"),
        ("post", {"kind": "offer"}, "invalid_field"),
        ("post", {"kind": "offer", "form": {"titel": "x"}}, "invalid_field"),
        ("post", {"kind": "offer", "fields": {"title": "Ladder"}, "nonce": "zz"}, "invalid_request"),
        ("post", {"kind": "offer", "fields": {"title": "Ladder"}, "until": "soon"}, "invalid_request"),
        ("post", {"kind": "offer", "fields": {"title": "Ladder"}, "audience": "nobody"}, "not_found"),
        ("show", {"address": "not an address"}, "invalid_address"),
        ("list", {"near": "here"}, "invalid_request"),
        ("list", {"town": "Atlantis"}, "not_found"),
        ("import", {"lines": "x"}, "invalid_request"),
        ("join", {"code": "nonsense"}, "invitation_mistyped"),
        ("peer_remove", {"town": "Atlantis"}, "not_found"),
        ("resident_add", {"name": "Anne", "pin": "1"}, "invalid_request"),
    ],
)
async def test_what_cannot_be_done_is_a_problem_document(
    node: Daemon, act: str, arguments: dict[str, Any], code: str
) -> None:
    problem = await refused(node, act, **arguments)
    assert problem["code"] == code
    assert 400 <= problem["status"] < 500
    assert problem["title"] and problem["detail"]


def test_every_act_says_what_it_does() -> None:
    assert all(act.__doc__ for act in ACTS.values())
