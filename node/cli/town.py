"""`town`: what this town says of itself."""

from node.cli.app import app
from node.cli.documents import field_option, typed
from node.cli.secrets import passphrase_of_town
from node.cli.terminal import Terminal, command


@command(app, "town")
@field_option
def town(terminal: Terminal, fields: tuple[str, ...]) -> None:
    """Show what this town says of itself, or change it: its name, place, languages, helplines.

    A change is signed with the town key and asks for its passphrase; an empty value takes a field away.
    """
    form = typed(fields)
    secret = passphrase_of_town() if form else None
    said = terminal.ask("town", form=form or None, passphrase=secret)
    lines = [f"{name}: {value}" for name, each in said.items() if (value := "; ".join(each.splitlines()))]
    terminal.answer(said, "\n".join(lines))
