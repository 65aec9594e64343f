"""`init`, `run` and `demo`: the commands that need no running node, because they begin one."""

import math
import os
import sys
from pathlib import Path
from typing import Any

import click

from node.cli.app import app
from node.cli.secrets import passphrase_of_town, words_of_key
from node.cli.sheet import NEXT_KEY, in_rows, which, write_sheet
from node.cli.terminal import Terminal, command
from node.places import run_command

LAN_LISTEN = "0.0.0.0:8460"
UNITS = 100_000
"""The list of towns has its coordinates in 1e-5 degrees."""


@command(app, "init")
@click.option("--name", metavar="TOWN", help="What people call the town.")
@click.option("--lat", type=click.FloatRange(-90, 90), help="Where it lies, in degrees north.")
@click.option("--lon", type=click.FloatRange(-180, 180), help="Where it lies, in degrees east.")
@click.option("--language", help="The town's first language (BCP 47); English if nobody says.")
@click.option("--lan", is_flag=True, help="Serve the local network too, not this machine alone.")
@click.option("--listen", metavar="HOST:PORT", help="Where to serve; over --lan.")
@click.option("--public-url", metavar="URL", help="Where the node is reached from outside.")
@click.option(
    "--key", type=click.Path(path_type=Path), help="Begin from a saved town key (a copy of town.key)."
)
@click.option("--words", is_flag=True, help="Begin from the words of a town key; they are asked for.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="Write the words of the next town key to print."
)
def init(
    terminal: Terminal,
    name: str | None,
    lat: float | None,
    lon: float | None,
    language: str | None,
    lan: bool,
    listen: str | None,
    public_url: str | None,
    key: Path | None,
    words: bool,
    sheet: Path | None,
) -> None:
    """Make a data directory with the keys of a town.

    Where DATA/keys lies already, those keys are adopted: the town's copy comes back from its peers. The
    town key's passphrase is printed once; write it on paper.
    """
    import asyncio

    from node import beginnings

    adopting = beginnings.has_begun_keys(terminal.data)
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not terminal.as_json
    if (lat is None) != (lon is None):
        raise click.UsageError("--lat and --lon belong together.")
    # A second device of a town whose profile stands needs no name: it writes none.
    if words and key is not None:
        raise click.UsageError("--key and --words are two ways to say one thing: give one of them.")
    saved = key is not None or words
    if name is None and not adopting and (not saved or lat is not None or language is not None):
        if not asks:
            raise click.UsageError("--name TOWN is missing: what do people call the town?")
        name = click.prompt("What do people call the town?")
    if asks and not lan and listen is None:
        lan = click.confirm("Serve the local network too, not this machine alone?", default=False)
    is_new = bool(name) and not saved and not adopting
    place = _known_place(name) if name and is_new and lat is None else None
    if place is not None:
        lat, lon = place.lat / UNITS, place.lon / UNITS
    if asks and is_new and lat is None:
        lat, lon = _asked_place()
    begun = asyncio.run(
        beginnings.begin(
            terminal.data,
            beginnings.Town(name or "", lat, lon, language),
            listen=listen or (LAN_LISTEN if lan else None),
            public_url=public_url,
            saved=(
                beginnings.SavedKey(key, passphrase_of_town())
                if key is not None
                else beginnings.SavedWords(words_of_key())
                if words and not adopting
                else None
            ),
        )
    )
    if sheet is not None and begun.paper:
        write_sheet(sheet, NEXT_KEY, begun.name, begun.fingerprint, begun.paper)
    terminal.answer(
        _begun_json(begun),
        "\n".join([_begun_text(begun), *_place_text(place, is_missing=is_new and lat is None)]),
    )


@command(app, "run")
@click.option("--listen", metavar="HOST:PORT", help="Where to serve; port 0 takes a free one.")
@click.option("--public-url", metavar="URL", help="Where the node is reached from outside.")
def run(terminal: Terminal, listen: str | None, public_url: str | None) -> None:
    """Run the node until SIGTERM or Ctrl-C.

    Prints the page's address once pages can be had.
    """
    import asyncio

    from node.beginnings import run_node

    asyncio.run(run_node(terminal.data, listen=listen, public_url=public_url, announce=_announcer(terminal)))


@command(app, "demo")
@click.option(
    "--towns", type=click.IntRange(3, 12), default=3, show_default=True, help="How many, in a line."
)
@click.option("--exit", "leave", is_flag=True, help="End when done: 0 only if all copies were equal.")
@click.option("--no-heal", is_flag=True, help="Never mend the cut; then the copies differ and the end is 1.")
@click.option("--records", type=click.IntRange(min=3), help="Begin with this many documents only.")
def demo(terminal: Terminal, towns: int, leave: bool, no_heal: bool, records: int | None) -> int:
    """Three towns on this machine, cut apart and healed.

    With real data: posts on both sides of the cut, a heal, and equal copies at the end.
    """
    import asyncio

    from node.demo.run import Plan, play

    plan = Plan(towns=towns, stay=not leave, heal=not no_heal, records=records, as_json=terminal.as_json)
    return asyncio.run(play(plan))


def _known_place(name: str) -> Any:
    """The town of that name in the list that comes with the program, or None."""
    from node.demo.corpus import find_town

    return find_town(name)


def _asked_place() -> tuple[float, float] | tuple[None, None]:
    """Where the town lies, as somebody types it; nothing, if they leave that out."""
    while True:
        typed = click.prompt("Where does it lie? LAT,LON in degrees, such as 46.04,4.07", default="").strip()
        if not typed:
            return None, None
        try:
            lat, lon = (float(part) for part in typed.split(","))
        except ValueError:
            lat = lon = math.inf
        if -90 <= lat <= 90 and -180 <= lon <= 180:
            return lat, lon
        click.echo("Two numbers with a comma between: degrees north to 90, degrees east to 180.", err=True)


def _place_text(place: Any, *, is_missing: bool) -> list[str]:
    """Which place was taken from the list, and the way out if that is another town of the name."""
    if is_missing:
        return [
            "It has no place yet, so nobody sees how far it is. Tell it while the node runs: "
            "hedgerow town -f where.lat=46.04 -f where.lon=4.07"
        ]
    if place is None:
        return []
    return [
        f"Its place is that of {place.name} ({place.country}): {place.lat / UNITS}, {place.lon / UNITS}. "
        f"If yours is another, say so while the node runs: hedgerow town -f where.lat=… -f where.lon=…"
    ]


def _announcer(terminal: Terminal) -> Any:
    def announce(name: str, url: str, network_urls: list[str]) -> None:
        told = {"town": name, "url": url, "network_urls": network_urls, "pid": os.getpid()}
        others = f"\nOther machines of this network find it at {' or '.join(network_urls)}"
        terminal.answer(told, f"{name} is at {url}{others if network_urls else ''}")
        sys.stdout.flush()

    return announce


def _begun_json(begun: Any) -> dict[str, object]:
    return {
        "town": {"id": begun.town.hex(), "name": begun.name},
        "fingerprint": begun.fingerprint,
        "data": str(begun.data),
        "adopted": begun.adopted,
        "passphrase": begun.passphrase,
        "paper": begun.paper,
    }


def _begun_text(begun: Any) -> str:
    if begun.adopted:
        return (
            f"Adopted the keys in {begun.data}: {begun.fingerprint}.\n"
            f"Its copy comes back when the node runs and meets its peers: {run_command(begun.data)}"
        )
    made = f"Made {begun.name}" if begun.paper else f"Made another device of {begun.name or 'the town'}"
    lines = [f"{made} in {begun.data}.", f"Fingerprint: {begun.fingerprint}"]
    if begun.passphrase:
        lines += [f"Passphrase of the town key, shown only now: {begun.passphrase}", "Write it on paper."]
    if begun.paper:
        lines += [
            f"Words of the next town key ({which(begun.paper)}), kept nowhere but there:",
            in_rows(begun.paper),
            "They take the town back if its key is stolen: write them down, and keep them away from here.",
        ]
    return "\n".join([*lines, f"Start the node with: {run_command(begun.data)}"])
