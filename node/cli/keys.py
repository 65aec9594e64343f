"""`key ...`: what the town key is needed for."""

import click

from node.cli.app import Commands, app
from node.cli.begin import passphrase
from node.cli.terminal import Terminal, command


@app.group(cls=Commands)
def key() -> None:
    """The keys of this town."""


@command(key, "sealing")
@click.option("--new", is_flag=True, help="Take a new one: after a device of this town was stolen.")
def sealing(terminal: Terminal, new: bool) -> None:
    """Tell the key to which others seal what only this town may read.

    Puts back a file that was lost, with all keys that there were. Asks for the passphrase of the town key.
    """
    told = terminal.ask("sealing_key", passphrase=passphrase(), new=new)
    number = told["index"] + 1
    terminal.answer(told, f"this town's sealing key number {number} is kept here and told in its profile")
