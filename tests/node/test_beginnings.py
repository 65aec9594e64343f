"""How a node begins: what `init` makes, what it adopts, and that nothing is ever overwritten."""

import shutil
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from node import beginnings
from node.beginnings import SavedKey, Town, begin
from node.clock import LAST_SURE, NodeClock
from node.config import SettingsError, read_settings
from node.errors import HedgerowError
from node.keys import KeysUnreadable, WrongPassphrase, open_keys, open_sealing_keys, open_town_key
from node.seals import sealing_key_of
from node.store.sqlite import open_store
from protocol.errors import InvalidField


async def test_a_new_town_has_keys_settings_and_a_profile_in_its_store(tmp_path: Path) -> None:
    data = tmp_path / "data"
    begun = await begin(data, Town("Roanne", 46.03624, 4.06802, "fr"), listen="0.0.0.0:8460")
    assert len(begun.passphrase.split()) == 6
    assert open_town_key(data / "keys", begun.passphrase).public == begun.town
    assert open_keys(data / "keys").town == begun.town
    assert read_settings(data, {}).web.listen == "0.0.0.0:8460"
    store = open_store(data, begun.town, chance=bytes)
    towns = await store.read(lambda reader: reader.towns())
    await store.close()
    assert [(facts.name, facts.lat, facts.lon) for facts in towns.values()] == [("Roanne", 46.03624, 4.06802)]


async def test_a_new_town_tells_the_sealing_key_that_all_its_devices_have(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    begun = await begin(first, Town("Roanne"))
    saved = SavedKey(first / "keys" / "town.key", begun.passphrase)
    await begin(second, Town("Roanne"), saved=saved)
    [key], [other] = open_sealing_keys(first / "keys"), open_sealing_keys(second / "keys")
    assert key.secret == other.secret
    store = open_store(first, begun.town, chance=bytes)
    told = await store.read(lambda reader: sealing_key_of(reader, begun.town))
    await store.close()
    assert told == key.public


async def test_the_directory_and_the_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    await begin(tmp_path / "data", Town("Roanne"))
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    for file in (tmp_path / "data" / "keys").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_keys_that_lie_there_are_adopted_and_not_touched(tmp_path: Path) -> None:
    made = await begin(tmp_path / "old", Town("Roanne"))
    new = tmp_path / "new"
    (new / "keys").mkdir(parents=True)
    kept = {file.name: file.read_bytes() for file in (tmp_path / "old" / "keys").iterdir()}
    for name, content in kept.items():
        (new / "keys" / name).write_bytes(content)
    assert beginnings.has_begun_keys(new)
    adopted = await begin(new, Town(""))
    assert adopted.adopted
    assert adopted.town == made.town
    assert not adopted.passphrase
    assert {file.name: file.read_bytes() for file in (new / "keys").iterdir()} == kept


async def test_the_time_at_which_a_person_began_is_believed_from_then_on(tmp_path: Path) -> None:
    await begin(tmp_path / "made", Town("Roanne"))
    (tmp_path / "adopted").mkdir()
    shutil.copytree(tmp_path / "made" / "keys", tmp_path / "adopted" / "keys")
    await begin(tmp_path / "adopted", Town(""))
    for data in (tmp_path / "made", tmp_path / "adopted"):
        store = open_store(data, open_keys(data / "keys").town, chance=bytes)
        kept = await store.read(lambda reader: reader.meta(LAST_SURE))
        is_empty = await store.read(lambda reader: reader.change()) == 0
        await store.close()
        assert isinstance(kept, int)
        # The board was switched off overnight, and nobody disciplines its clock.
        woken = NodeClock(kept, wall=partial(int, kept + 86_400_000), synchronised=lambda: False)
        assert woken.sure
        # An adopted town's copy comes from its peers, so its store must still count as empty.
        assert is_empty == (data.name == "adopted")


async def test_a_directory_that_holds_a_node_is_refused(tmp_path: Path) -> None:
    await begin(tmp_path, Town("Roanne"))
    with pytest.raises(HedgerowError) as caught:
        await begin(tmp_path, Town("Roanne"))
    assert caught.value.code == "begun_already"


async def test_a_saved_key_makes_a_second_device_of_the_same_town(tmp_path: Path) -> None:
    first = await begin(tmp_path / "first", Town("Roanne"))
    copy = tmp_path / "on-a-stick"
    copy.write_bytes((tmp_path / "first" / "keys" / "town.key").read_bytes())
    second = await begin(tmp_path / "second", Town("Roanne"), saved=SavedKey(copy, first.passphrase.upper()))
    assert second.town == first.town
    assert not second.passphrase, "its passphrase is known already"
    devices = [open_keys(tmp_path / name / "keys").device.public for name in ("first", "second")]
    assert devices[0] != devices[1]


async def test_a_second_device_leaves_the_place_and_the_language_of_its_town_alone(tmp_path: Path) -> None:
    first = await begin(tmp_path / "first", Town("Roanne", 46.03624, 4.06802, "fr"))
    saved = SavedKey(tmp_path / "first" / "keys" / "town.key", first.passphrase)
    await begin(tmp_path / "second", Town("Roanne"), saved=saved)
    await begin(tmp_path / "third", Town("Roanne", language="fr"), saved=saved)
    for name, kinds in (("second", []), ("third", ["Roanne"])):
        store = open_store(tmp_path / name, first.town, chance=bytes)
        towns = await store.read(lambda reader: reader.towns())
        records = await store.read(lambda reader: reader.totals())
        await store.close()
        assert [facts.name for facts in towns.values() if facts.name] == kinds
        assert records.records == 1 + len(kinds)


async def test_a_saved_key_that_is_none_is_named_as_it_was_given(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("no key")
    with pytest.raises(KeysUnreadable, match=f"^{readme} is damaged"):
        await begin(tmp_path / "second", Town("Roanne"), saved=SavedKey(readme, "six words"))


async def test_a_wrong_passphrase_leaves_nothing_behind(tmp_path: Path) -> None:
    await begin(tmp_path / "first", Town("Roanne"))
    saved = SavedKey(tmp_path / "first" / "keys" / "town.key", "not these words")
    with pytest.raises(WrongPassphrase):
        await begin(tmp_path / "second", Town("Roanne"), saved=saved)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    "town", [Town(""), Town("x" * 300), Town("Roanne\nis lost"), Town("Roanne", language="not a language")]
)
async def test_a_town_that_cannot_be_told_leaves_nothing_behind(tmp_path: Path, town: Town) -> None:
    with pytest.raises(InvalidField):
        await begin(tmp_path / "data", town)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "given", [{"listen": "23460"}, {"listen": "x"}, {"public_url": "ftp://roanne.example"}]
)
async def test_where_no_node_can_be_nothing_is_made(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        await begin(tmp_path / "data", Town("Roanne"), **given)
    assert not (tmp_path / "data").exists()


async def test_settings_that_lie_there_are_the_operators_own(tmp_path: Path) -> None:
    (tmp_path / "hedgerow.toml").write_text('[web]\nlisten = "127.0.0.1:1"\n')
    await begin(tmp_path, Town("Roanne"), listen="127.0.0.1:2")
    assert read_settings(tmp_path, {}).web.listen == "127.0.0.1:1"
