"""The commands as people and scripts use them: a real node, a real process for each command."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.demo.town import TownFailed, TownProcess

STOP_S_MAX = 5.0


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[TownProcess]:
    """A town whose node runs."""
    made = TownProcess("Roanne", tmp_path / "roanne")
    await made.init("--lat", "46.03624", "--lon", "4.06802", "--language", "fr")
    await made.start()
    yield made
    await made.stop()


async def test_a_document_from_the_first_command_to_the_last(town: TownProcess, tmp_path: Path) -> None:
    address = (await town.command("post", "offer", "-f", "title=Ten loaves", "-f", "quantity=10")).strip()
    assert len(address) == 13
    shown = json.loads(await town.command("show", address.replace("-", " ").lower(), "--json"))
    assert {"address", "id", "kind", "town", "fields", "born", "expires", "versions"} <= set(shown)
    assert shown["fields"]["title"] == "Ten loaves"
    fields = tmp_path / "fields.json"
    fields.write_text('{"title": "Nine loaves"}')
    edited = json.loads(await town.command("edit", address, "--json", str(fields), "--json"))
    assert edited["address"] == shown["address"]
    assert edited["id"] != shown["id"]
    assert "Nine loaves" in await town.command("show", address)
    for command in (["list"], ["list", "offer"], ["search", "nine", "loaves"]):
        assert address in await town.command(*command)
        assert [each["id"] for each in json.loads(await town.command(*command, "--json"))] == [edited["id"]]
    assert json.loads(await town.command("list", "need", "--json")) == []
    await town.command("withdraw", address)
    with pytest.raises(TownFailed, match="hedgerow: "):
        await town.command("show", address)


async def test_what_one_town_exports_another_takes_in_as_it_was_signed(
    town: TownProcess, tmp_path: Path
) -> None:
    offers = tmp_path / "offers.csv"
    offers.write_text("kind,title,quantity\noffer,Ladder,1\nneed,Sand,20 kg\n")
    assert await town.command("import", str(offers)) == "2 posted\n"
    file = tmp_path / "all.jsonl"
    answer = json.loads(await town.command("export", str(file), "--json"))
    lines = file.read_text().splitlines()
    assert answer["records"] == len(lines) == 6
    assert all({"header", "signature", "body", "decoded"} <= set(json.loads(line)) for line in lines)
    again = json.loads(await town.command("import", str(file), "--json"))
    assert (again["posted"], again["refused"], again["held"], again["already"]) == (0, 0, 0, 6)
    assert await town.command("import", str(file)) == "nothing new: 6 were here already\n"


async def test_federations_peers_tokens_and_status_answer_people_and_programs(town: TownProcess) -> None:
    await town.command("federation", "found", "Roannais")
    assert "Roannais" in await town.command("federation", "list")
    assert "Roanne" in await town.command("federation", "members")
    invitation = json.loads(await town.command("federation", "invite", "--url", town.url, "--json"))
    assert set(invitation) == {"code", "expires"}
    assert await town.command("peer", "list") == "no peers yet\n"
    assert json.loads(await town.command("sync", "--json")) == {"peers": []}
    assert (await town.command("token", "--page")).startswith(f"{town.url}/sign-in?token=")
    assert json.loads(await town.command("resident", "add", "Anne", "--json"))["name"] == "Anne"
    text = await town.command("status")
    assert "Roanne, Hedgerow" in text and "Roannais: 1 town" in text
    for name, arguments in (("join", ["nonsense"]), ("invite", [])):
        with pytest.raises(TownFailed) as caught:
            await town.command("federation", name, *arguments)
        assert str(caught.value).count("hedgerow: ") == 1


async def test_sigterm_ends_a_node_in_order_within_five_seconds(town: TownProcess) -> None:
    clock = asyncio.get_running_loop().time
    address = (await town.command("post", "offer", "-f", "title=Ten loaves")).strip()
    began_s = clock()
    assert await town.stop() == 0
    assert clock() - began_s < STOP_S_MAX
    with pytest.raises(TownFailed, match="no node is running"):
        await town.command("status")
    await town.start()
    assert "Ten loaves" in await town.command("show", address)
