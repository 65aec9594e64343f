"""The root of the command line: what there is, mistyped commands, and how every failure becomes one line.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the node is not running.
"""

import difflib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from node import __version__
from node.cli.client import NodeNotRunning, Refused
from node.cli.terminal import plain

SUMMARY_CHARS = 300
"""Longer than any first sentence of ours: none is cut in the middle."""
DONE, FAILED, USAGE, NOT_RUNNING, INTERRUPTED = 0, 1, 2, 3, 130


class Commands(click.Group):
    """A group that answers a mistyped command with the nearest one, and none with its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, but where no command is given the help is printed as help."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but a command that is not there is refused with the nearest ones."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], known, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
            raise click.UsageError(f"there is no command '{args[0]}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's, but a sentence that is longer than a line goes on in the next one."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, each.get_short_help_str(SUMMARY_CHARS)) for name, each in commands.items() if each]
            )


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the node is not running.",
)
@click.version_option(__version__, prog_name="hedgerow")
def app() -> None:
    """The node of one town: run it, federate it with neighbours, post and find."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; whatever goes wrong is said in one line."""
    _declare()
    as_json = _asks_for_json(arguments)
    try:
        outcome = app.main(args=list(arguments), prog_name="hedgerow", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "hedgerow"
        return _fail(USAGE, "usage", f"{_sentence(_usage(error))} See: {path} --help", as_json)
    except click.ClickException as error:
        return _fail(FAILED, "failed", error.format_message(), as_json)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except NodeNotRunning as error:
        return _fail(NOT_RUNNING, "not_running", str(error), as_json)
    except Refused as error:
        return _fail(FAILED, str(error.problem.get("code", "failed")), str(error), as_json, error.problem)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        return _other(error, as_json)
    return outcome if isinstance(outcome, int) else DONE


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Tell whether the answer shall be JSON: `--json` alone asks so, `--json FILE` gives fields."""
    command = app.commands.get(next(iter(arguments), ""))
    options = [] if command is None else [each for each in command.params if "--json" in each.opts]
    takes_file = any(isinstance(each, click.Option) and not each.is_flag for each in options)

    def is_file(following: str) -> bool:
        return takes_file and (following == "-" or following[:1] not in ("", "-"))

    pairs = zip(arguments, [*arguments, ""][1:], strict=True)
    return any(given == "--json" and not is_file(following) for given, following in pairs)


def _declare() -> None:
    """Bring in the modules that declare commands; each loads the node's own parts only when it is called."""
    from node.cli import begin, claims, documents, federations, keys, people, stewards, town

    del begin, claims, documents, federations, keys, people, stewards, town


def _other(error: Exception, as_json: bool) -> int:
    """An error of the node's own trees or of the system; anything else is a fault of ours, and says so."""
    code = getattr(error, "code", None)
    if isinstance(code, str):
        return _fail(FAILED, code, str(error), as_json)
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return _fail(FAILED, "system", f"{error.strerror or error}{where}".strip(), as_json)
    if os.environ.get("HEDGEROW_TRACE"):
        traceback.print_exc()
    fault = f"{type(error).__name__}: {error}".splitlines()[0]
    return _fail(
        FAILED, "fault", f"a fault in Hedgerow itself: {fault}. HEDGEROW_TRACE=1 shows where.", as_json
    )


def _fail(status: int, code: str, says: str, as_json: bool, problem: Any = None) -> int:
    line = plain(" ".join(says.split()))
    click.echo(f"hedgerow: {line}", err=True)
    if as_json:
        click.echo(json.dumps(problem or {"code": code, "title": line, "detail": line}, ensure_ascii=False))
    return status


def _usage(error: click.UsageError) -> str:
    """Click's message, but what a number or a time must look like is said as people write it."""
    if not isinstance(error, click.BadParameter) or error.param is None:
        return error.format_message()
    kind, name = error.param.type, error.param.opts[0]
    if isinstance(kind, click.DateTime):
        return f"{name}: write a day like 2026-11-20, or a time like 2026-11-20T18:30"
    if isinstance(kind, click.IntRange | click.FloatRange):
        number = "a whole number" if isinstance(kind, click.IntRange) else "a number"
        least = "" if kind.min is None else f" from {kind.min}"
        return f"{name}: write {number}{least}{'' if kind.max is None else f' to {kind.max}'}"
    return error.format_message()


def _sentence(text: str) -> str:
    """Click's message with a full stop at its end."""
    return text if text.endswith((".", "?", "!")) else f"{text}."
