"""The real data of the demo: every entry can be posted, every town gets its own part, always the same."""

from __future__ import annotations

import csv
from collections import Counter
from importlib.resources import files

import pytest

from node.demo.corpus import Entry, corpus, find_town, towns
from node.demo.guides import practice
from protocol.encoding import encode
from protocol.kinds import KINDS
from protocol.limits import BODY_BYTES_MAX

EVERYTHING = [list(corpus(index, size=None)) for index in range(3)]
GUIDES = {
    str(entry.fields["title"]): entry.fields
    for each in EVERYTHING
    for entry in each
    if entry.kind == "practice"
}


def title(entry: Entry) -> str:
    """Return what stands for an entry in lists."""
    return KINDS[entry.kind].title_of(entry.fields)


def test_every_entry_passes_the_check_of_its_kind_and_fits_into_a_body() -> None:
    for entry in (entry for each in EVERYTHING for entry in each):
        KINDS[entry.kind].check(entry.fields)
        assert len(encode(entry.fields)) < BODY_BYTES_MAX - 64
        assert title(entry)


def test_the_three_towns_share_out_all_the_data_and_no_two_get_the_same_item() -> None:
    counts = Counter(entry.kind for each in EVERYTHING for entry in each)
    assert counts["skill"] == 260 and counts["practice"] == 60
    assert counts["item"] == 200
    assert counts["offer"] + counts["need"] > 11_500
    for kind, field in (("skill", "code"), ("practice", "title"), ("need", "text")):
        values = [entry.fields[field] for each in EVERYTHING for entry in each if entry.kind == kind]
        assert len(values) == len(set(map(str, values)))


@pytest.mark.parametrize("size", [0, 10, 90, 300])
def test_a_town_gets_as_many_as_asked_for_well_mixed_and_always_the_same(size: int) -> None:
    entries = list(corpus(1, size=size))
    assert len(entries) == size
    assert list(corpus(1, size=size)) == entries
    if size:
        counts = Counter(entry.kind for entry in entries)
        assert set(counts) == {"offer", "need", "item", "skill", "practice"}
        assert counts["offer"] >= counts["need"] >= size // 6
        assert {entry.kind for entry in entries[: size // 2]} >= {"offer", "skill", "need"}


def test_many_towns_can_share_the_data() -> None:
    titles = [title(entry) for index in range(40) for entry in corpus(index, town_count=40, size=20)]
    assert len(titles) == 800


@pytest.mark.parametrize("index", [-1, 3])
def test_a_town_that_is_not_among_them_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=f"there is no town {index} among 3"):
        next(corpus(index))


def test_a_place_is_written_into_offers_and_needs_rounded_to_a_kilometre() -> None:
    roanne = find_town("Roanne")
    assert roanne is not None
    entries = list(corpus(0, size=40, place=roanne))
    placed = [entry for entry in entries if "where" in entry.fields]
    assert {entry.kind for entry in placed} == {"offer", "need", "item"}
    assert placed[0].fields["where"] == {"name": "Roanne", "lat": 4_604_000, "lon": 407_000}


def test_titles_of_the_relief_catalogue_do_not_shout() -> None:
    titles = {title(entry) for each in EVERYTHING for entry in each if entry.kind in ("offer", "need")}
    assert 'Hose, PVC flexible spiralled, 2 con. Storz 2", 5m' in titles
    assert "Ground sheet (pillow tank 1.5m3)" in titles
    assert not [shout for shout in titles if shout.isupper() and len(shout) > 20]


def test_a_numbered_guide_becomes_steps_with_times_supplies_and_its_author() -> None:
    bread = GUIDES["Bread"]
    steps = bread["steps"]
    assert isinstance(steps, list) and len(steps) == 11
    assert steps[8] == {
        "text": "Bake the bread for 26 to 35 minutes, or until deep golden brown and risen. "
        "Tapping the top of the loaf should produce a hollow sound.",
        "minutes": 35,
    }
    assert bread["supplies"] == [
        "1 1/2 cups warm water",
        "2 and 1/4 teaspoons Active Dry Yeast",
        "1 Tsp sugar",
        "2 Tbsp maple syrup, agave, or honey",
        "1/2 Tbsp salt",
        "3 3/4 cups Unbleached All-Purpose Flour (plus more for rolling / dusting)",
    ]
    assert bread["tags"] == ["basic", "bread", "fasting"]
    assert str(bread["context"]).endswith("By alex-selimov at based.cooking.")
    assert "webp" not in str(bread)


def test_a_guide_in_plain_sentences_becomes_one_step_a_line() -> None:
    cheese = GUIDES["Cheese"]["steps"]
    assert isinstance(cheese, list) and len(cheese) == 11
    assert cheese[0] == {
        "text": "Preparation: Pour the milk and the salt into a pot, stir it well, and heat it up to 35°C."
    }


def test_every_guide_has_steps_and_supplies_and_no_markdown_is_left() -> None:
    assert len(GUIDES) == 60
    for fields in GUIDES.values():
        assert fields["steps"] and fields["supplies"]
        assert not [mark for mark in ("](", "**", "![", "\\*", "⏲") if mark in str(fields)]


def test_times_and_servings_are_added_up() -> None:
    assert (GUIDES["Pho Soup"]["minutes"], GUIDES["Pho Soup"]["people"]) == (140, 4)


def test_a_step_that_is_too_long_is_cut_after_a_sentence_and_a_last_warning_is_set_apart() -> None:
    sentence = "Stir until it is smooth and nothing sticks to the ground of the pot any more. "
    text = (
        f"---\ntitle: Porridge\n---\n\n## Directions\n\n1. {sentence * 30}\n2. Pour. Be careful, it is hot.\n"
    )
    steps = practice(text)["steps"]
    assert isinstance(steps, list)
    assert [len(step["text"]) <= 1_000 for step in steps] == [True] * len(steps)
    assert "".join(step["text"] + " " for step in steps[:-1]) == sentence * 30
    assert steps[-1] == {"text": "Pour.", "warning": "Be careful, it is hot."}


def test_the_towns_have_exact_positions() -> None:
    assert len(towns()) == 260
    with (files("node.demo") / "data" / "towns.csv").open(encoding="utf-8") as lines:
        for town, row in zip(towns(), csv.DictReader(lines), strict=True):
            assert (town.lat, town.lon) == (round(float(row["lat"]) * 1e5), round(float(row["lon"]) * 1e5))


@pytest.mark.parametrize("typed", ["Régny", "regny", " REGNY ", "Re\u0301gny"])
def test_a_town_is_found_whatever_the_accents_and_letter_case(typed: str) -> None:
    found = find_town(typed)
    assert found is not None and found.name == "Régny"


def test_of_two_towns_with_one_name_the_larger_is_found_and_of_none_nothing() -> None:
    llanarth = find_town("Llanarth")
    assert llanarth is not None and llanarth.population == 503
    saint = find_town("saint germain laval")
    assert saint is not None and saint.name == "Saint-Germain-Laval"
    assert find_town("Atlantis") is None


def test_the_data_name_their_origins() -> None:
    readme = (files("node.demo") / "data" / "README.md").read_text(encoding="utf-8")
    for name in ("GeoNames", "ESCO", "Sahana", "Circulate", "based.cooking", "CC BY 4.0"):
        assert name in readme
