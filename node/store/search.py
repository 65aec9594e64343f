"""Words and stems: what of a document is searched, and how what a person types becomes a query.

The index has the words of a document and, where it is another word, the stem of each by the document's
language. A query asks for each of its words, or for its stem in any language that the index has seen. So
"réparations" finds "réparer" and "reparer" finds both: SQLite's tokenizer folds case and accents on both
sides. Order plays no part (the newest comes first), so each word stands once.

This is a good part of the cost of taking a record in: nearly every word of a language comes from the memo,
and no step of the loop is Python's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Final

import Stemmer

from protocol.encoding import Value
from protocol.fields import Choice
from protocol.kinds import KINDS
from protocol.kinds.repeats import Repeats
from protocol.notations import Bytes, Lang, LocalTime, TimeZone, Url
from protocol.structures import Measure

QUERY_WORDS_MAX: Final = 16
"""Words of a query that count; each may cost a walk through the index."""
MEMO_WORDS_MAX: Final = 32_768
"""Words remembered for one language: about 6 MB at the most, and a language's daily words."""
WORD_CHARS_MAX: Final = 40
"""Longer pieces are no daily words: they are neither remembered nor stemmed."""
LANGUAGES_MAX: Final = 16
"""Languages whose stems a query tries."""

_ALGORITHMS: Final = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": "english", "eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque", "fi": "finnish",
    "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali", "nl": "dutch", "nn": "norwegian",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
_LANGUAGES: Final = {code for code, algorithm in _ALGORITHMS.items() if algorithm in Stemmer.algorithms()}
_WORD: Final = re.compile(r"[^\W_]+")
_APART: Final = bytes(code if code > 127 or chr(code).isalnum() else 32 for code in range(256))
"""The marks of ASCII, which part words, become spaces; a text has few others. A table of bytes, for in one of
characters each that stays as it is costs a look-up that fails."""
_MUTE: Final = (Choice, Bytes, Lang, Url, Measure, LocalTime, TimeZone, Repeats)
"""Types of fields whose text is not what people search for."""
_MUTE_NAMES: Final = frozenset({"by", "licence", "lang"})


class _Terms(dict[bytes, bytes]):
    """Remembers, within bounds, what the index holds for each piece of text that stands between spaces.

    That is, in UTF-8, its words and their stems, parted by spaces: "réparations" gives "réparations répar".
    """

    def __init__(self, algorithm: str | None) -> None:
        super().__init__()
        self.stem: Callable[[str], str] = (
            Stemmer.Stemmer(algorithm, 0).stemWord if algorithm is not None else _unchanged
        )

    def __missing__(self, piece: bytes) -> bytes:
        word = piece.decode()
        if word.isalpha() and len(word) <= WORD_CHARS_MAX:
            stem = self.stem(word)
            found = piece if stem == word else f"{word} {stem}".encode()
            if len(self) >= MEMO_WORDS_MAX:
                self.clear()
            self[piece] = found
            return found
        # Numbers have no stem, and nearly every one is a new one; marks beyond ASCII are rare.
        return piece if word.isalnum() else b" ".join(self[each.encode()] for each in _WORD.findall(word))


def _unchanged(word: str) -> str:
    return word


def language_of(fields: Mapping[str, Value]) -> str | None:
    """Return the language by which the words of these fields can be stemmed: two small letters; else None."""
    lang = fields.get("lang")
    primary = lang[:2] if isinstance(lang, str) and (len(lang) == 2 or lang[2:3] == "-") else ""
    return primary if primary in _LANGUAGES else None


def terms(kind: str, fields: Mapping[str, Value], language: str | None) -> str:
    """Return what the index holds of one version of a document: its words and their stems, parted by spaces.

    Args:
        kind: A declared kind.
        fields: Already checked.
        language: As `language_of` tells.
    """
    pieces = _text(kind, fields).lower().encode().translate(_APART).split()
    return b" ".join({*map(_memo(language).__getitem__, pieces)}).decode()


def match(text: str, languages: Iterable[str]) -> str | None:
    """Return the FTS5 expression for what a person typed; None if there is no word in it.

    Args:
        text: Anything; it cannot speak FTS5's language.
        languages: Those that the index has seen.
    """
    words = _WORD.findall(text.lower())[:QUERY_WORDS_MAX]
    if not words:
        return None
    memos = [_memo(language) for language in list(languages)[:LANGUAGES_MAX] if language in _LANGUAGES]
    # A word that is still being typed is the beginning of one; a space after it says that it is whole.
    last = len(words) - 1 if text[-1:].isalnum() else -1
    return " AND ".join(
        _either(word, [memo.stem(word) for memo in memos], begins=index == last)
        for index, word in enumerate(words)
    )


def _either(word: str, stems: Iterable[str], *, begins: bool) -> str:
    choices = [f'"{choice}"' for choice in dict.fromkeys([word, *stems])]
    if begins:
        choices[0] += " *"
    return "(" + " OR ".join(choices) + ")"


def _text(kind: str, fields: Mapping[str, Value]) -> str:
    parts: list[str] = []
    for name in fields.keys() & _spoken(kind):
        value = fields[name]
        if type(value) is str:
            parts.append(value)
        else:
            _collect(value, parts)
    return " ".join(parts)


def _collect(value: Value, parts: list[str]) -> None:
    """Gather the text of a nested value; its depth was bounded when it was decoded."""
    if isinstance(value, str):
        parts.append(value)
    elif isinstance(value, list):
        for item in value:
            _collect(item, parts)
    elif isinstance(value, dict):
        for item in value.values():
            _collect(item, parts)


@cache
def _spoken(kind: str) -> frozenset[str]:
    """Return which fields of a declared kind have text that people search for."""
    return frozenset(
        each.name
        for each in KINDS[kind].fields
        if not isinstance(each.type, _MUTE) and each.name not in _MUTE_NAMES
    )


@cache
def _memo(language: str | None) -> _Terms:
    return _Terms(None if language is None else _ALGORITHMS[language])
