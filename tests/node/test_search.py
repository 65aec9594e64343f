"""Words, stems and what people type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.store import Query
from node.store import search as search_module
from node.store.search import language_of, match, terms
from tests.node.stores import BASIS, BEE, Bench, offer, open_bench
from tests.sync.world import NOW_S


@pytest.fixture(params=["sqlite", "memory"])
def bench(request: Any, tmp_path: Path) -> Iterator[Bench]:
    """A store with three towns in one federation."""
    made = open_bench(request.param, tmp_path)
    made.hold(*BASIS)
    yield made
    made.close()


def found(bench: Bench, text: str) -> int:
    """Return how many documents a search finds."""
    page = bench.read(lambda reader: reader.documents(Query(text=text, count=True), NOW_S))
    assert page.total == len(page.documents)
    return len(page.documents)


@pytest.mark.parametrize(
    ("lang", "title", "asked"),
    [
        ("fr", "Réparer un vélo", ["réparations", "reparer", "RÉPARER", "velo", "rép", "un vel"]),
        ("en", "Repairing bicycles", ["repair", "repaired", "bicycle", "BICYCLES repairing", "bic"]),
        ("de", "Äpfel und Kartoffeln", ["apfel", "äpfel", "kartoffel", "Kartoffeln und"]),
        ("cy", "Bara brith", ["bara", "brith", "BRI"]),
        ("fr-FR", "L'école d'été", ["ecole", "école", "l'école", "ete", "écoles"]),
    ],
)
def test_words_are_found_without_accents_in_other_forms_and_as_they_are_typed(
    bench: Bench, lang: str, title: str, asked: list[str]
) -> None:
    bench.hold(offer(BEE, title, fields={"lang": lang}), offer(BEE, "Something else", fields={"lang": lang}))
    assert {text: found(bench, text) for text in asked} == dict.fromkeys(asked, 1)
    assert [found(bench, text) for text in ("zzz", "something velo", "bicycle kartoffel")] == [0, 0, 0]


def test_all_text_that_people_wrote_is_searched_and_nothing_else(bench: Bench) -> None:
    fields = {
        "text": "With a long handle",
        "tags": ["garden", "autumn"],
        "where": {"name": "Behind the mill"},
        "terms": "lend",
        "by": "margery",
        "quantity": {"milli": 2_000, "unit": "each"},
    }
    bench.hold(offer(BEE, "A rake", fields=fields))
    assert [found(bench, word) for word in ("handle", "autumn", "mill", "rake garden")] == [1] * 4
    assert [found(bench, word) for word in ("margery", "lend", "each", "2000")] == [0] * 4


@pytest.mark.parametrize(
    "text",
    ['"', "a AND", "NEAR(a b)", "terms: x", "*", "a* OR b*", "(", "'; DROP TABLE records", "^a", "-a", "\0x"],
)
def test_nothing_that_is_typed_speaks_the_index_own_language(bench: Bench, text: str) -> None:
    bench.hold(offer(BEE, "A rake"))
    assert found(bench, text) in (0, 1)


@given(text=st.text(max_size=40))
def test_every_text_makes_a_sound_expression_or_none(text: str) -> None:
    expression = match(text, ["en", "fr", "no-such-language"])
    if expression is not None:
        assert expression.count('"') % 2 == 0
        assert expression.count("(") == expression.count(")")


def test_a_question_has_so_many_words_at_most() -> None:
    expression = match(" ".join(f"word{number}" for number in range(100)), [])
    assert expression is not None
    assert expression.count(" AND ") == search_module.QUERY_WORDS_MAX - 1


def test_a_text_without_words_finds_nothing(bench: Bench) -> None:
    bench.hold(offer(BEE, "A rake"))
    assert found(bench, "?!") == 0
    assert bench.read(lambda reader: reader.kind_counts(Query(text="?!"), NOW_S)) == {}


def test_what_is_remembered_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "MEMO_WORDS_MAX", 10)
    for number in range(100):
        word = "".join("abcdefghij"[int(digit)] for digit in str(number))
        found = terms("offer", {"title": f"x{word} y{word}. {number} z{word}-{number} «w{word}»"}, "sv")
        assert {f"x{word}", f"y{word}", f"z{word}", f"w{word}", str(number)} <= {*found.split()}
    assert 0 < len(search_module._memo("sv")) <= 10


def test_long_pieces_of_text_are_found_but_not_remembered(bench: Bench) -> None:
    """Else one guide could fill the memory with what nobody ever writes again."""
    long = "x" * 41
    bench.hold(offer(BEE, f"https://example.org/somewhere/reparations-{long}", fields={"lang": "fr"}))
    assert [found(bench, text) for text in (long, "réparations", "réparer", "x" * 30)] == [1, 1, 1, 1]
    assert max(map(len, search_module._memo("fr"))) <= search_module.WORD_CHARS_MAX


@pytest.mark.parametrize(
    ("lang", "language"),
    [("en", "en"), ("pt-BR", "pt"), ("english", None), ("xx", None), (7, None), (None, None)],
)
def test_the_language_of_a_text_is_the_first_part_of_its_tag(lang: Any, language: str | None) -> None:
    assert language_of({"lang": lang} if lang is not None else {}) == language
