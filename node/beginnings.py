"""How a node begins: the data directory that `init` makes, and the run of a node until it is told to stop.

`init` makes the keys, or adopts those that lie there; writes the commented settings; and signs the town's
profile, which only the town key can, into the store. It never overwrites anything: done again, it says
what is there.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unicodedata import category

import msgspec

from node import keys as key_files
from node.clock import LAST_SURE, NodeClock, wall_ms
from node.clones import CLONE
from node.config import SETTINGS_FILE, Settings, Web, checked_web, commented, read_settings
from node.errors import DataInUse, DataUnreadable, HedgerowError
from node.places import run_command
from node.store.database import lock_directory
from protocol.errors import InvalidField
from protocol.identity import COMMITMENT_AT, TownKey, fingerprint, new_paper
from protocol.ids import TownId
from protocol.kinds import kind_of
from protocol.limits import SUCCESSORS_MAX
from protocol.paper import heard, told
from protocol.record import open_record
from sync.admission import State

if TYPE_CHECKING:
    from node.keys import Keys
    from protocol.encoding import Value

KEYS_FOLDER: Final = "keys"
LANGUAGE_DEFAULT: Final = "en"
NOT_IN_A_LINE: Final = frozenset({"Cc", "Zl", "Zp"})
"""Unicode's categories of control characters and of the ends of lines and paragraphs."""
WORDS_SHOWN: Final = 2
"""Words of the fingerprint that stand for a town without a name."""
DEGREES_DIGITS: Final = 5
"""Coordinates are kept to 1e-5 degrees, about a metre."""


@dataclass(frozen=True, slots=True)
class Town:
    """What `init` is told of a town; degrees and language, or None where nobody said."""

    name: str
    lat: float | None = None
    lon: float | None = None
    language: str | None = None

    @property
    def is_described(self) -> bool:
        """Whether more is said of it than a name."""
        return self.lat is not None or self.language is not None


@dataclass(frozen=True, slots=True)
class SavedKey:
    """A copy of a town's `town.key` and the words that open it."""

    file: Path
    passphrase: str


@dataclass(frozen=True, slots=True)
class SavedWords:
    """The words of a town key, or of the paper of a town's next key."""

    words: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Begun:
    """What `init` has made.

    Attributes:
        passphrase: Empty where the town key had one already.
        paper: The words of the next town key, kept nowhere else; empty but for a new town.
    """

    data: Path
    town: TownId
    name: str
    fingerprint: str
    passphrase: str = field(repr=False)
    adopted: bool
    paper: str = field(default="", repr=False)


def has_begun_keys(data: Path) -> bool:
    """Tell whether keys lie in a data directory already."""
    return key_files.has_keys(data / KEYS_FOLDER)


async def begin(
    data: Path,
    town: Town,
    *,
    listen: str | None = None,
    public_url: str | None = None,
    saved: SavedKey | SavedWords | None = None,
) -> Begun:
    """Make a data directory, or adopt the keys that lie in it.

    A second device (`saved`) of a town that is only named writes no profile: the town has one, with its
    place and its languages, which comes from the first device; a newer one would stand in its stead.

    Raises:
        HedgerowError: The directory cannot be written, holds a node already, or the saved key does not open.
        SettingsError: No node can listen there, or be reached there.
        InvalidField: The town cannot be called or described so.
    """
    folder = data / KEYS_FOLDER
    checked_web(Web(), listen=listen, public_url=public_url)
    if key_files.has_keys(folder):
        if (data / SETTINGS_FILE).exists():
            says = f"{data} holds a node already. Run it with: {run_command(data)}"
            raise DataInUse(says, code="begun_already")
        keys = key_files.open_keys(folder)
        await _keep(data, keys, [])
        _write_settings(data, listen, public_url)
        return Begun(data, keys.town, "", fingerprint(keys.town), "", adopted=True)
    fields = _profile_fields(town) if saved is None or town.is_described else None
    paper = ""
    if isinstance(saved, SavedKey):
        town_key = await asyncio.to_thread(_open_saved, saved)
    elif saved is not None:
        town_key = _key_of_words(saved.words)
    else:
        seed = new_paper(secrets.token_bytes(COMMITMENT_AT))
        town_key = TownKey.next_of(seed, 0)
        paper = told(TownKey(seed, SUCCESSORS_MAX))
    sealing_keys = key_files.sealing_keys_of(town_key)
    if fields is not None and saved is None:
        # A town that there is already tells one; it may be a later one than follows from its key at first.
        fields["sealing_key"] = sealing_keys[max(sealing_keys)].public
    passphrase = saved.passphrase if isinstance(saved, SavedKey) else key_files.new_passphrase()
    _make_folder(data)
    now_ms = wall_ms()
    keys = await asyncio.to_thread(
        key_files.create,
        folder,
        passphrase=passphrase,
        device_name="",  # the name of this machine is nobody else's business
        now_ms=now_ms,
        town_key=town_key,
    )
    key_files.save_sealing_keys(folder, sealing_keys)
    records = [raw for raw in (keys.rotation, keys.certificate) if raw]
    if fields is not None:
        records.append(key_files.town_record(town_key, key_files.PROFILE, fields, now_ms).raw)
    await _keep(data, keys, records)
    _write_settings(data, listen, public_url)
    shown = "" if isinstance(saved, SavedKey) else passphrase
    return Begun(data, keys.town, town.name, fingerprint(keys.town), shown, adopted=False, paper=paper)


async def renew_device(data: Path, passphrase: str) -> bytes:
    """Give a stopped board a new device key, since another one lives with the one that it has; return it.

    Whatever fails leaves the board as it was; done again, it goes on with the same new key.

    Raises:
        DataInUse: Its node runs.
        HedgerowError: The town key does not open, or is not that of today.
    """
    folder = data / KEYS_FOLDER
    try:
        lock_directory(data).close()
    except DataInUse:
        says = "this board's own node runs: stop it first, then run hedgerow key clone --renew again"
        raise DataInUse(says) from None
    town_key = await asyncio.to_thread(key_files.open_town_key, folder, passphrase)
    await _check_present(data, town_key)
    keys = key_files.begin_renewal(folder, town_key, wall_ms())
    await _keep(data, keys, [raw for raw in (keys.rotation, keys.certificate) if raw], settled=True)
    key_files.end_renewal(folder)
    return keys.device.public


async def name_in(data: Path) -> str:
    """Return what the town of a stopped board is called; empty if its profile is not here.

    Raises:
        HedgerowError: There are no keys, or the data cannot be read.
    """
    from node.store.sqlite import open_store

    town = key_files.open_keys(data / KEYS_FOLDER).town
    store = open_store(data, town, chance=secrets.token_bytes)
    try:
        known = (await store.read(lambda reader: reader.towns())).get(town)
    finally:
        await store.close()
    return known.name if known is not None else ""


async def _check_present(data: Path, town_key: TownKey) -> None:
    """Refuse a town key of which a board knows that another one has taken over."""
    from node.custody import check_present
    from node.store.sqlite import open_store

    store = open_store(data, TownId(town_key.town), chance=secrets.token_bytes)
    try:
        check_present(town_key, await store.read(lambda r: r.authority().rights_of(TownId(town_key.town))))
    finally:
        await store.close()


async def run_node(
    data: Path,
    *,
    listen: str | None = None,
    public_url: str | None = None,
    announce: Callable[[str, str, list[str]], None],
) -> None:
    """Run the node of a data directory until SIGTERM or SIGINT; `announce` is told its town, its page,
    and where others in the local network find that.

    Raises:
        HedgerowError: It cannot start.
        SettingsError: Its settings cannot be used.
    """
    from node import log
    from node.acts import network_urls, page_url
    from node.daemon import Daemon

    settings = _over(read_settings(data), listen, public_url)
    log.set_up(settings.log.level)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    daemon = Daemon(data, settings)
    await daemon.start()
    try:
        status = await daemon.status()
        name = status["town"]["name"] or _unnamed(daemon.town)
        announce(name, page_url(daemon), network_urls(daemon))
        settle_memory()
        await stopping.wait()
    finally:
        await daemon.stop()


def settle_memory() -> None:
    """Let the collector of cycles pass over what a node has once it runs, and look less often at the rest.

    Nearly nothing here is a cycle, and to walk over all of it again and again was a twentieth of the cost of
    taking a record in.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _unnamed(town: TownId) -> str:
    """What to call a town whose profile has not come back yet from its neighbours: by its fingerprint."""
    return f"The town {' '.join(fingerprint(town).split()[:WORDS_SHOWN])} …"


def _over(settings: Settings, listen: str | None, public_url: str | None) -> Settings:
    """The settings with what the command line says in their place."""
    return msgspec.structs.replace(
        settings, web=checked_web(settings.web, listen=listen, public_url=public_url)
    )


def _profile_fields(town: Town) -> dict[str, Value]:
    """The town's profile as its kind declares it.

    Raises:
        InvalidField: A name that is too long, a language that is none.
    """
    kind = kind_of(key_files.PROFILE)
    assert kind is not None
    if any(category(letter) in NOT_IN_A_LINE for letter in town.name):
        raise InvalidField("name", "must be one line without control characters")
    form = {"name": town.name, "languages": town.language or LANGUAGE_DEFAULT}
    if town.lat is not None and town.lon is not None:
        form |= {
            "where.name": town.name,
            "where.lat": f"{town.lat:.{DEGREES_DIGITS}f}",
            "where.lon": f"{town.lon:.{DEGREES_DIGITS}f}",
        }
    return kind.from_text(form)


def _key_of_words(words: str) -> TownKey:
    """The town key of these words; of the paper of the next keys, the first one.

    Raises:
        WrongWords: They are no key's.
    """
    key = heard(words)
    return TownKey.next_of(key.seed, 0) if key.generation == SUCCESSORS_MAX else key


def _open_saved(saved: SavedKey) -> TownKey:
    """The town key from a copy of its file, whatever the copy is called.

    Raises:
        KeysUnreadable, WrongPassphrase.
    """
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder) / key_files.TOWN_FILE
        try:
            beside.write_bytes(saved.file.read_bytes())
        except OSError as error:
            raise key_files.KeysUnreadable(f"{saved.file} cannot be read: {error.strerror}.") from None
        try:
            return key_files.open_town_key(Path(folder), saved.passphrase)
        except key_files.KeysUnreadable as error:
            # It names the file that it read; people know the one that they gave.
            says = error.says.replace(str(beside), str(saved.file))
            raise key_files.KeysUnreadable(says) from None


def _make_folder(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataUnreadable(
            f"the data directory {data} cannot be made: {error.strerror}. Give one that you may write to."
        ) from None


def _write_settings(data: Path, listen: str | None, public_url: str | None) -> None:
    """Write the commented settings, unless there are some: those are the operator's own."""
    path = data / SETTINGS_FILE
    values = {("web", "listen"): listen, ("web", "public_url"): public_url}
    given = {place: value for place, value in values.items() if value is not None}
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(commented(given))
    except FileExistsError:
        return
    except OSError as error:
        raise DataUnreadable(f"{path} cannot be written: {error.strerror}.") from None


async def _keep(data: Path, keys: Keys, records: Sequence[bytes], *, settled: bool = False) -> None:
    """Put the time into the store, because a person is there who sees the clock; and what a new town or
    device has to say of itself, through the one door. `settled`: this board is nobody's clone any more.
    """
    from node.intake import Intake
    from node.store.sqlite import open_store

    store = open_store(data, keys.town, chance=secrets.token_bytes)
    try:
        kept = await store.read(lambda reader: reader.meta(LAST_SURE))
        known_ms = kept if isinstance(kept, int) else 0
        now_ms = max(wall_ms(), known_ms, open_record(keys.certificate).header.born * 1_000)
        await store.write(lambda tx: tx.set_meta(LAST_SURE, now_ms))
        if settled:
            await store.write(lambda tx: tx.set_meta(CLONE, None))
        intake = Intake(store, keys.device, NodeClock(now_ms).read, chance=secrets.token_bytes)
        intake.announce = lambda committed: None
        # Whoever knows this town key needs no second proof of it, and takes none in.
        known = (await intake.authority()).rights_of(keys.town).keys
        news = [raw for raw in records if raw != keys.rotation or open_record(raw).header.device not in known]
        verdicts = await intake.accept(news) if news else ()
    finally:
        await store.close()
    refused = next((verdict for verdict in verdicts if verdict.state is not State.HELD), None)
    if refused is not None:
        raise HedgerowError(f"the town's own profile was not taken in ({refused.cause})", code="fault")
