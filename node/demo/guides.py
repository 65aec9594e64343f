"""A food guide of the data, from its Markdown to the fields of a practice.

The files have a front matter (title, tags, author), a few words about the dish, then sections: Ingredients
become supplies, Directions become steps, the rest becomes context. Only what these 60 files use is read; this
is no Markdown parser.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from protocol.kinds.bounds import (
    LINE_CHARS_MAX,
    STEP_CHARS_MAX,
    STEPS_MAX,
    SUMMARY_CHARS_MAX,
    SUPPLIES_MAX,
    TAGS_MAX,
    TEXT_CHARS_MAX,
    WARNING_CHARS_MAX,
)

_IMAGE: Final = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_NAMED_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_EMPHASIS: Final = re.compile(r"\*\*(.+?)\*\*|(?<![\w*])[*_](?! )(.+?)(?<! )[*_](?![\w*])")
_ITEM: Final = re.compile(r"(\s*)(?:[-*+]|[0-9]+\.)\s+(.*)")
_HEADING: Final = re.compile(r"(#+)\s+(.*)")
_FACT: Final = re.compile(r"\W*(prep time|cook time|wait time|servings)\W*(.*)", re.IGNORECASE)
_SPAN: Final = re.compile(
    r"([0-9]+(?:\.[0-9]+)?)(?:\s*(?:-|to)\s*([0-9]+(?:\.[0-9]+)?))?\s*(days?|hours?|hr|h|minutes?|mins?|m)\b"
)
_WARNS: Final = re.compile(r"(be careful|careful|caution|warning|never|note that|make sure)\b", re.IGNORECASE)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+")


def practice(text: str) -> dict[str, object]:
    """Return the fields of a practice, as the API takes them, for the Markdown text of a guide."""
    front, body = _front(text)
    sections = _sections(body)
    facts = _facts(sections["about"])
    about = [line for line in sections["about"] if not _FACT.match(line)]
    paragraphs = list(_paragraphs(about))
    steps, after = _steps(sections["directions"])
    credit = f"By {front['author']} at based.cooking." if "author" in front else "From based.cooking."
    rest = [*paragraphs[1:], *after, *_paragraphs(sections["more"]), credit]
    fields: dict[str, object] = {
        "title": front["title"],
        "category": "food",
        "context": _cut("\n\n".join(rest), TEXT_CHARS_MAX),
        "steps": steps[:STEPS_MAX],
        "supplies": [_cut(line, LINE_CHARS_MAX) for line in _items(sections["ingredients"])][:SUPPLIES_MAX],
        "licence": "public domain",
        "tags": [*_words(front.get("tags", ""))][:TAGS_MAX],
        "lang": "en",
        **facts,
    }
    if paragraphs:
        fields["summary"] = _cut(paragraphs[0], SUMMARY_CHARS_MAX)
    return {name: value for name, value in fields.items() if value}


def _front(text: str) -> tuple[dict[str, str], list[str]]:
    """Split the front matter, `name: value` between two lines of hyphens, from the lines below it."""
    _, front, body = unicodedata.normalize("NFC", text).split("---\n", 2)
    pairs = (line.split(":", 1) for line in front.replace("--- \n", "").splitlines() if ":" in line)
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}, body.splitlines()


def _words(tags: str) -> Iterator[str]:
    """Yield the words of `['basic', 'bread']`."""
    return (word.strip(" '\"") for word in tags.strip("[]").split(",") if word.strip(" '\""))


def _sections(lines: list[str]) -> dict[str, list[str]]:
    """Share the lines out: about, ingredients, directions, more. Smaller headings stay among them."""
    sections: dict[str, list[str]] = {"about": [], "ingredients": [], "directions": [], "more": []}
    section = "about"
    for raw in lines:
        line = _plain(raw)
        heading = _HEADING.fullmatch(line)
        if heading is not None and len(heading[1]) == 2:
            section = heading[2].lower() if heading[2].lower() in sections else "more"
        else:
            sections[section].append(line)
    return sections


def _plain(line: str) -> str:
    """Return a line without images, links and emphasis."""
    line = _NAMED_LINK.sub(r"\1", _IMAGE.sub("", line))
    line = _EMPHASIS.sub(lambda found: found[1] or found[2], line)
    return line.replace("\\*", "*").replace("\t", "    ").rstrip()


def _facts(lines: list[str]) -> dict[str, int]:
    """Add up the times and read the servings; the larger end of a range counts."""
    minutes, people = 0, 0
    for found in filter(None, map(_FACT.match, lines)):
        if found[1].lower() == "servings":
            people = max((int(number) for number in re.findall("[0-9]+", found[2])), default=0)
        elif "/day" not in found[2]:
            minutes += sum(_minutes(span) for span in _SPAN.finditer(found[2]))
    return {name: value for name, value in (("minutes", minutes), ("people", people)) if value}


def _minutes(span: re.Match[str]) -> int:
    longest = float(span[2] or span[1])
    return round(longest * {"d": 1440, "h": 60, "m": 1}[span[3][0]])


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Yield what stands between empty lines, each in one line; items keep a line of their own."""
    for block in "\n".join(lines).split("\n\n"):
        text = re.sub(r"\n(?!\s*[-*] )", " ", block.strip().lstrip("# >"))
        text = re.sub(r"(^|\n)\s*[-*]\s+", r"\1- ", text)
        text = re.sub("[ ]+", " ", text).replace(" > ", " ")
        if text:
            yield text


def _items(lines: list[str]) -> Iterator[str]:
    """Yield the items of a list; those that only introduce others (`Spices:`) are left out."""
    for line in lines:
        found = _ITEM.fullmatch(line)
        if found is not None and not found[2].endswith(":"):
            yield found[2].strip()


def _steps(lines: list[str]) -> tuple[list[dict[str, object]], list[str]]:
    """Return the steps, and the paragraphs that stand after them."""
    texts: list[str] = []
    after: list[str] = []
    lead = ""
    numbered = any(map(_ITEM.fullmatch, lines))
    for line in filter(None, lines):
        heading, item = _HEADING.fullmatch(line), _ITEM.fullmatch(line)
        begins = item is not None or (not numbered and not line.startswith(" "))
        if heading is not None:
            lead = heading[2]
        elif item is not None and item[2].endswith(":"):
            lead = item[2].removesuffix(":")
        elif begins:
            text = item[2] if item is not None else line
            texts.append(f"{lead}: {text}" if lead else text)
            lead = ""
        elif line.startswith(" ") and texts:
            texts[-1] += f" {line.strip()}"
        else:
            after.append(line)
    return [_step(part) for text in texts for part in _parts(text)], after


def _parts(text: str) -> Iterator[str]:
    """Cut a step that is too long after a sentence."""
    part = ""
    for sentence in _SENTENCE.split(text.strip()):
        if part and len(part) + len(sentence) >= STEP_CHARS_MAX:
            yield part
            part = ""
        part = f"{part} {sentence}".strip()[:STEP_CHARS_MAX]
    if part:
        yield part


def _step(text: str) -> dict[str, object]:
    """Return a step with its time, if it names one only, and its last sentence as a warning, if it warns."""
    step: dict[str, object] = {"text": text}
    spans = list(_SPAN.finditer(text))
    if len(spans) == 1:
        step["minutes"] = max(1, _minutes(spans[0]))
    *before, last = _SENTENCE.split(text)
    if before and _WARNS.match(last) and len(last) <= WARNING_CHARS_MAX:
        step |= {"text": " ".join(before), "warning": last}
    return step


def _cut(text: str, chars_max: int) -> str:
    """Cut text that is too long, at a blank, and show that it was cut."""
    return text if len(text) <= chars_max else text[: chars_max - 2].rsplit(" ", 1)[0] + " …"
