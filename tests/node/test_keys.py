"""Keys on the disk: made once, opened with nothing, and the town key only with its words."""

import stat
from pathlib import Path

import pytest

from node import keys as key_files
from node.keys import KeysExist, KeysUnreadable, WrongPassphrase
from protocol.encoding import decode, encode
from protocol.identity import TownKey
from protocol.words import WORDS

NOW_MS = 1_790_000_000_000
WORDS_GIVEN = "abandon ability able about above absent"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place where no keys are yet."""
    return tmp_path / "keys"


def made(folder: Path, town_key: TownKey | None = None) -> key_files.Keys:
    """Keys as `init` makes them."""
    return key_files.create(
        folder, passphrase=WORDS_GIVEN, device_name="board", now_ms=NOW_MS, town_key=town_key
    )


def test_a_node_opens_the_keys_that_were_made_for_it_without_a_passphrase(folder: Path) -> None:
    created = made(folder)
    opened = key_files.open_keys(folder)
    assert (opened.device.seed, opened.town, opened.certificate) == (
        created.device.seed,
        created.town,
        created.certificate,
    )
    assert key_files.device_of(opened.certificate) == (created.town, created.device.public)


def test_the_town_key_opens_with_its_words_however_they_are_spaced_and_with_no_others(folder: Path) -> None:
    created = made(folder)
    typed = "  Abandon ability  ABLE about above\nabsent "
    assert key_files.open_town_key(folder, typed).public == created.town
    with pytest.raises(WrongPassphrase):
        key_files.open_town_key(folder, "abandon ability able about above absorb")


def test_key_files_are_readable_by_their_owner_alone(folder: Path) -> None:
    made(folder)
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name for path in folder.iterdir()} == {"device.key", "town.key"}


def test_the_seed_of_a_town_does_not_lie_open_on_the_disk(folder: Path) -> None:
    made(folder)
    seed = key_files.open_town_key(folder, WORDS_GIVEN).seed
    assert all(seed not in path.read_bytes() for path in folder.iterdir())


def test_keys_are_never_overwritten(folder: Path) -> None:
    made(folder)
    before = (folder / "device.key").read_bytes()
    with pytest.raises(KeysExist):
        made(folder)
    assert (folder / "device.key").read_bytes() == before


def test_a_new_board_of_a_town_is_certified_by_the_same_town_key(folder: Path, tmp_path: Path) -> None:
    first = made(folder)
    second = made(tmp_path / "other", key_files.open_town_key(folder, WORDS_GIVEN))
    assert second.town == first.town
    assert second.device.public != first.device.public


@pytest.mark.parametrize("name", ["device.key", "town.key"])
@pytest.mark.parametrize(
    "content", [b"", b"\xc1", b"\x80", b"x" * 20_000], ids=["empty", "odd", "bare", "long"]
)
def test_a_damaged_key_file_is_told_in_one_line(folder: Path, name: str, content: bytes) -> None:
    made(folder)
    (folder / name).write_bytes(content)
    with pytest.raises(KeysUnreadable) as told:
        if name == "device.key":
            key_files.open_keys(folder)
        else:
            key_files.open_town_key(folder, WORDS_GIVEN)
    assert "\n" not in told.value.says
    assert name in told.value.says


def test_a_missing_key_file_says_what_to_do(folder: Path) -> None:
    with pytest.raises(KeysUnreadable, match="init"):
        key_files.open_keys(folder)


def test_a_device_key_with_another_devices_certificate_is_refused(folder: Path, tmp_path: Path) -> None:
    first, second = made(folder), made(tmp_path / "other")
    mixed = encode({"certificate": second.certificate, "seed": first.device.seed, "town": bytes(first.town)})
    (folder / "device.key").write_bytes(mixed)
    with pytest.raises(KeysUnreadable, match="certificate"):
        key_files.open_keys(folder)


def test_a_planted_file_cannot_ask_for_a_terabyte_of_memory(folder: Path) -> None:
    made(folder)
    path = folder / "town.key"
    content = decode(path.read_bytes(), bytes_max=16_384)
    assert isinstance(content, dict)
    content["memory_bytes"] = 2**40
    path.write_bytes(encode(content))
    with pytest.raises(KeysUnreadable):
        key_files.open_town_key(folder, WORDS_GIVEN)


def test_a_new_passphrase_is_six_of_our_words() -> None:
    drawn = key_files.new_passphrase().split(" ")
    assert len(drawn) == 6
    assert set(drawn) <= set(WORDS)
    assert key_files.new_passphrase() != " ".join(drawn)
