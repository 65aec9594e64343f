"""Secrets that commands are told: from the environment, else asked for, else read from standard input."""

import os
import sys

import click

PASSPHRASE_VARIABLE = "HEDGEROW_PASSPHRASE"
WORDS_VARIABLE = "HEDGEROW_WORDS"


def passphrase_of_town() -> str:
    """The passphrase of the town key."""
    return _told(PASSPHRASE_VARIABLE, "Passphrase of the town key", "the passphrase of the town key")


def words_of_key() -> str:
    """The words of a town key, on one line or on as many as they stand on."""
    from protocol.paper import WORDS_COUNT, words_of

    given = _told(WORDS_VARIABLE, f"The {WORDS_COUNT} words", "the words of the key")
    while not os.environ.get(WORDS_VARIABLE) and len(words_of(given)) < WORDS_COUNT:
        more = _next_line(f"The next words, after {len(words_of(given))}")
        if not more:
            break
        given = f"{given} {more}"
    return given


def _next_line(prompt: str) -> str:
    """What is typed in one more line; empty if that is all."""
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, default="", show_default=False)).strip()
    return sys.stdin.readline().strip()


def _told(variable: str, prompt: str, what: str) -> str:
    given = os.environ.get(variable)
    if given:
        return given
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True))
    read = sys.stdin.readline().strip()
    if not read:
        raise click.UsageError(f"this needs {what}: set {variable}.")
    return read
