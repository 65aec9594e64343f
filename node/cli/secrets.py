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
    """The words of a town key, all on one line."""
    return _told(WORDS_VARIABLE, "The 25 words", "the words of the key")


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
