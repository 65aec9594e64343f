"""The pages: what they show, what they refuse, and that nothing typed is lost."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest

from node.config import Settings, Web
from node.web import guard, present
from node.web.site import news_of
from protocol.ids import show_address

STEPS: list[Any] = [
    {"text": "Cut the cabbage", "warning": "Mind your fingers"},
    {"text": "Salt it", "minutes": 20},
]


async def test_the_board_shows_what_every_town_has_with_its_address_and_distance(
    node: Any, browser: Any
) -> None:
    await node.hear_offer("Ladders of Charlieu")
    posted = await node.board.post("need", {"title": "Blankets for the hall", "urgency": "urgent"})
    status, page = await browser.get("/")
    assert status == 200
    assert "Ladders of Charlieu" in page
    assert "Charlieu, 15 km" in page
    assert "Blankets for the hall" in page
    assert show_address(posted.address) in page
    assert "Need · urgent" in page
    assert "Offers <span>1</span>" in page


async def test_the_board_is_narrowed_by_words_kind_town_and_distance(node: Any, browser: Any) -> None:
    await node.hear_offer("Ladders of Charlieu")
    await node.board.post("offer", {"title": "Bread of Roanne"})
    await node.board.post("skill", {"name": "Bake bread"})
    for query, there, away in [
        ("q=ladder", "Ladders of", "Bread of"),
        ("kind=skill", "Bake bread", "Bread of"),
        (f"town={node.neighbour.id.hex()}", "Ladders of", "Bread of"),
        ("km=5", "Bread of", "Ladders of"),
        ("q=bread&kind=offer", "Bread of", "Bake bread"),
    ]:
        _, page = await browser.get(f"/?{query}")
        assert there in page, query
        assert away not in page.split("<h1>")[1], query


@pytest.mark.parametrize(
    "query",
    [
        "kind=nothing",
        "town=xyz",
        "km=-1",
        "km=many",
        "km=" + 5_000 * "9",
        "q=%22%27%28%29*",
        "q=%00",
        "town=",
    ],
    ids=lambda query: query[:20],
)
async def test_a_question_that_makes_no_sense_still_gets_a_board(browser: Any, query: str) -> None:
    status, _ = await browser.get(f"/?{query}")
    assert status == 200


@pytest.mark.parametrize(
    ("query", "says"), [("kind=zorg", "that kind"), ("km=abc&town=zzz", "that town or that distance")]
)
async def test_what_a_question_says_in_vain_is_said(node: Any, browser: Any, query: str, says: str) -> None:
    assert f"no such thing as {says}, so it was left out" in (await browser.get(f"/?{query}"))[1]
    assert "left out" not in (await browser.get("/?kind=&town=&km=&q=x"))[1]


async def test_an_audience_that_makes_no_sense_is_never_guessed(node: Any, browser: Any) -> None:
    await browser.sign_in(node)
    _, page = await browser.get("/post?kind=need")
    form = browser.form(page) | {"title": "Company", "_audience": "banana"}
    status, page, _ = await browser.post("/post?kind=need", form)
    assert status == 400
    assert "choose who may see it" in page
    assert await node.all() == []


async def test_a_cursor_that_is_none_is_one_clear_sentence(browser: Any) -> None:
    status, page = await browser.get("/?cursor=%F0%9F%98%80")
    assert status == 400
    assert "Traceback" not in page


async def test_more_than_a_page_is_reached_by_show_more(node: Any, browser: Any) -> None:
    from node.board import Post

    await node.board.post_many([Post("offer", {"title": f"Thing number {number}"}) for number in range(25)])
    _, first = await browser.get("/")
    more = re.search(r'href="(/\?cursor=[^"]*)">Show more', first)
    assert more is not None
    _, second = await browser.get(more[1].replace("&amp;", "&"))
    titles = re.findall(r"Thing number \d+", first) + re.findall(r"Thing number \d+", second)
    assert sorted(set(titles)) == sorted(f"Thing number {number}" for number in range(25))
    assert len(titles) == 25


async def test_on_paper_stand_days_and_when_it_was_printed(node: Any, browser: Any) -> None:
    await node.hear_offer("Ladders")
    _, page = await browser.get("/")
    day = present.date_text(node.clock.now_ms() // 1000 - 7_200, whole_day=False, clock=False)
    assert f'<span data-on="{day}">1 h ago</span>' in page
    assert f"As of {present.date_text(node.clock.now_ms() // 1000, whole_day=False)}." in page


async def test_a_card_says_what_only_this_town_sees(node: Any, browser: Any) -> None:
    await node.board.post("need", {"title": "Company"}, audience="town")
    await node.board.post("need", {"title": "Blankets"})
    await browser.sign_in(node)
    _, page = await browser.get("/")
    assert page.count("only Roanne") == 1


async def test_a_board_that_has_not_changed_is_not_sent_again(node: Any, browser: Any) -> None:
    await node.hear_offer("Ladders")
    async with browser.client.get("/") as response:
        etag = response.headers["ETag"]
    assert "Ladders" in (await browser.get("/"))[1]
    status, page = await browser.get("/", **{"If-None-Match": etag})
    assert (status, page) == (304, "")
    await node.hear_offer("Saws")
    status, page = await browser.get("/", **{"If-None-Match": etag})
    assert status == 200
    assert "Saws" in page


async def test_a_page_is_small_and_needs_one_file_more(node: Any, browser: Any) -> None:
    from node.board import Post

    text = "It works well and stands ready behind the school; bring somebody to lift it. " * 10
    await node.board.post_many(
        [Post("offer", {"title": f"Thing number {n}", "text": text}) for n in range(25)]
    )
    async with browser.client.get(
        "/", headers={"Accept-Encoding": "gzip"}, auto_decompress=False
    ) as response:
        body = await response.read()
    page = gzip.decompress(body).decode()
    style = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(style) == 1
    async with browser.client.get(
        style[0], headers={"Accept-Encoding": "gzip"}, auto_decompress=False
    ) as response:
        sheet = await response.read()
        assert "immutable" in response.headers["Cache-Control"]
    assert len(body) + len(sheet) <= 14_000
    assert "<script" not in page
    assert re.findall(r"<(?:img|iframe|object)", page) == []


async def test_a_document_shows_its_facts_and_what_is_known_about_it(node: Any, browser: Any) -> None:
    fields = {
        "title": "Bread of the day",
        "text": "Bring a bag.\nCome early.",
        "quantity": {"milli": 24_000, "unit": "each"},
        "terms": "give",
        "until": 1_790_121_599,
        "where": {"name": "Market hall", "lat": 4_603_000, "lon": 407_000},
        "tags": ["bread", "food"],
        "allergens": "wheat",
    }
    posted = await node.board.post("offer", fields, by="alice")
    status, page = await browser.get(f"/d/{posted.address}")
    assert status == 200
    for text in (
        "24 pieces",
        "To give away",
        "22 Sep 2026",
        "Market hall",
        "wheat",
        "posted in Roanne by alice",
    ):
        assert text in page
    assert show_address(posted.address) in page
    assert "Signed by Roanne" in page


async def test_a_page_says_until_when_it_is_shown_itself(node: Any, browser: Any) -> None:
    until = node.clock.now_ms() // 1000 + 3 * 86_400
    posted = await node.board.post("offer", {"title": "Bread", "until": until})
    _, page = await browser.get(f"/d/{posted.address}")
    assert f"Shown until {present.date_text(until, whole_day=False, clock=False)}." in page


async def test_a_day_that_is_over_is_said_beside_its_field(node: Any, browser: Any) -> None:
    await browser.sign_in(node)
    _, page = await browser.get("/post?kind=offer")
    form = browser.form(page) | {"title": "Bread", "until": "2020-03-01"}
    status, page, _ = await browser.post("/post?kind=offer", form)
    assert status == 400
    assert re.search(r'id="f-until-error">That day is over\.', page)


async def test_an_address_is_found_however_it_is_typed(node: Any, browser: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    status, _page = await browser.get(f"/d/{show_address(posted.address).lower()}")
    assert status == 200
    async with browser.client.get(
        f"/go?number={show_address(posted.address)}", allow_redirects=False
    ) as response:
        assert response.headers["Location"] == f"/d/{posted.address}"


@pytest.mark.parametrize(
    "path", ["/d/00000000000", "/d/nonsense", f"/d/{'00' * 16}", "/nothing-here", "/d/0/edit/more"]
)
async def test_what_is_not_there_is_said_in_one_sentence(browser: Any, path: str) -> None:
    status, page = await browser.get(path)
    assert status == 404
    assert "<h1>Not found</h1>" in page


async def test_the_record_itself_can_be_read(node: Any, browser: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread", "quantity": {"milli": 1_500, "unit": "kg"}})
    status, page = await browser.get(f"/d/{posted.address}/record")
    assert status == 200
    assert posted.id.hex() in page
    assert "signature" in page


async def test_a_guide_has_numbered_steps_and_its_revisions(node: Any, browser: Any) -> None:
    posted = await node.board.post(
        "practice",
        {"title": "Sauerkraut", "steps": STEPS, "supplies": ["1 kg cabbage"], "minutes": 1_500, "people": 4},
        by="alice",
    )
    await node.board.edit(posted.address, {"title": "Sauerkraut without power"})
    _, page = await browser.get(f"/d/{posted.address}")
    for text in (
        "Cut the cabbage",
        "Mind your fingers",
        "20 min",
        "1 kg cabbage",
        "25 h",
        "4 people",
        "stands now",
    ):
        assert text in page
    old = re.search(r'href="(/d/[^"]*\?revision=[0-9a-f]+)"', page)
    assert old is not None
    _, earlier = await browser.get(old[1])
    assert "earlier revision" in earlier
    assert ">title</td>" in page, "each row says what it changed"
    assert ">the first that is held here</td>" in page


async def two_heads(node: Any) -> str:
    """Make a guide that two people have changed at once; return its address."""
    posted = await node.board.post("practice", {"title": "Stove", "steps": STEPS})
    first = await node.board.record(await node.board.show(posted.address))
    branch = node.own.record(
        "practice",
        {"title": "Stove with clay", "steps": STEPS},
        [node.federation],
        born=first.header.born,
        later_ms=5_000,
        follows=first,
        cites=[posted.id],
    )
    await node.board.edit(posted.address, {"title": "Stove from two tins", "cost": "two spoons of clay"})
    await node.hear(branch)
    return str(posted.address)


async def test_two_heads_of_a_guide_stand_side_by_side_and_can_be_brought_together(
    node: Any, browser: Any
) -> None:
    address = await two_heads(node)
    await browser.sign_in(node)
    _, page = await browser.get(f"/d/{address}")
    assert "at the same time" in page
    assert page.count('<section class="panel" aria-label="Revision') == 2
    _, edit = await browser.get(f"/d/{address}/edit?merge=1")
    assert "<h1>Bring two revisions together</h1>" in edit
    assert edit.index("The other revision") < edit.index('<form class="panel')
    assert '<option value="merge" selected>' in edit
    assert "two spoons of clay" in edit
    form = browser.form(edit) | {"title": "Stove, both ways", "steps": "Cut\nBurn"}
    status, _, _ = await browser.post(f"/d/{address}/edit", form)
    assert status == 303
    shown = await node.board.show(address)
    assert len([version for version in shown.versions if version.is_head]) == 1
    assert len(shown.versions[0].cites) == 2


async def test_what_stays_in_town_is_shown_only_to_who_is_signed_in(node: Any, browser: Any) -> None:
    posted = await node.board.post("need", {"title": "Company in the evening"}, audience="town")
    assert "Company" not in (await browser.get("/"))[1]
    assert "/sign-in?next=/nothing" not in (await browser.get("/nothing"))[1]
    gone = await node.board.post("need", {"title": "Once"})
    await node.board.withdraw(gone.address)
    for rest in ("", "/record"):
        status, page = await browser.get(f"/d/{posted.address}{rest}")
        assert status == 404
        assert "sign in to see" in page
        assert f'href="/sign-in?next=/d/{posted.address}{rest}"' in page
        other = await browser.get(f"/d/{gone.address}{rest}")
        assert other == (404, page.replace(posted.address, gone.address)), "it does not tell that it is there"
    await browser.sign_in(node)
    assert "Company" in (await browser.get("/"))[1]
    assert "Company" in (await browser.get(f"/d/{posted.address}"))[1]


async def test_where_the_operator_wants_it_nothing_is_read_without_a_sign_in(node: Any, browser: Any) -> None:
    posted = await node.board.post("offer", {"title": "Bread"})
    node.settings = Settings(web=Web(public_reading=False))
    for path in ("/", "/neighbours", f"/d/{posted.address}", f"/d/{posted.address}/record"):
        assert (await browser.get(path))[0] == 401, path
    assert (await browser.get("/sign-in"))[0] == 200
    await browser.sign_in(node)
    assert (await browser.get("/"))[0] == 200


async def test_the_neighbours_page_says_what_status_says(node: Any, browser: Any) -> None:
    charlieu, ambierle = "up to date, heard 4 s ago", "not heard since 06:10, 12 records wait for it"
    node.peers = [
        {"town": node.neighbour.id.hex(), "name": "Charlieu", "state": "up", "says": f"Charlieu: {charlieu}"},
        {"town": "cc" * 32, "name": "Ambierle", "state": "dialing", "says": f"Ambierle: {ambierle}"},
    ]
    node.peers[1]["backlog_out"] = 12
    _, page = await browser.get("/neighbours")
    assert "Up to date, heard 4 s ago" in page
    assert "Not heard since 06:10, 12 records wait for it" in page
    assert "Ambierle is not connected." in page
    _, board = await browser.get("/")
    assert "12 records from here wait." in board


async def test_what_to_look_at_names_the_town_and_what_the_operator_can_do(
    node: Any, browser: Any, stranger: Any
) -> None:
    """Strangers learn that there is something; the operator puts it away."""
    at_ms = node.clock.now_ms()
    used = {"code": "invitation_used", "says": "an invitation was refused: ask for a new one"}
    node.incidents = [
        {"at_ms": at_ms, "town": node.neighbour.id.hex(), **used},
        {"at_ms": at_ms, "town": "cc" * 32, "code": "odd", "says": "that is odd"},
        {"at_ms": at_ms, "town": "", "code": "storage_unavailable", "says": "the disk is full"},
    ]

    _, page = await browser.get("/neighbours")
    assert "There is something that the operator should look at" in page
    assert "invitation" not in page.split("To look at")[1] and "disk is full" not in page
    assert "incidents" not in (await stranger.call("GET", "/api/v1/status"))[1]
    token = await browser.sign_in(node)
    _, page = await browser.get("/neighbours")
    assert "Charlieu wants to join with an invitation that was used already." in page
    assert "ask for a new one" not in page
    assert "A town that is not known here (cccccccc): that is odd" in page
    assert "<li>the disk is full" in page
    form = browser.form(page)
    assert form == {"_token": token}
    assert (await browser.post("/neighbours", {"_token": "0" * 32}))[0] == 403
    assert len(node.incidents) == 3, "a form without its token does nothing"
    assert (await browser.post("/neighbours", form))[0] == 303
    assert "To look at" not in (await browser.get("/neighbours"))[1]


async def test_about_names_whose_data_came_along(browser: Any) -> None:
    _, page = await browser.get("/about")
    assert "GeoNames" in page
    assert "ESCO" in page


async def test_a_form_that_is_too_large_is_refused_with_one_sentence(node: Any, browser: Any) -> None:
    await browser.sign_in(node)
    status, page, _ = await browser.post("/post?kind=offer", {"title": "x" * 200_000})
    assert status == 413
    assert "more than this page takes" in page


PART = b'--x\r\nContent-Disposition: form-data; name="name"\r\n'
FORM, PARTS = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
END = b"\r\n\r\n*\r\n--x--\r\n"
BROKEN_FORMS = {
    "charset": (f"{FORM}; charset=nonsense", b"name=a&pin=b"),
    "codec": (f"{FORM}; charset=rot13", b"name=a&pin=b"),
    "bytes": (f"{FORM}; charset=utf-8", b"name=\xff&pin=\xfe"),
    "part-charset": (PARTS, PART + b"Content-Type: text/plain; charset=zz" + END),
    "part-bytes": (PARTS, PART + b"\r\n\xff\r\n--x--\r\n"),
    "no-boundary": ("multipart/form-data", b"xx"),
    "long-boundary": ("multipart/form-data; boundary=" + 80 * "x", b"xx"),
    "no-parts": (PARTS, b"xx"),
    "no-end": (PARTS, PART),
    "no-name": (PARTS, b"--x" + END),
    "no-header": (PARTS, b"--x\r\nnothing" + END),
    "encoding": (PARTS, PART + b"Content-Transfer-Encoding: zz" + END),
    "base64": (PARTS, PART + b"Content-Transfer-Encoding: base64" + END),
    "deflate": (PARTS, PART + b"Content-Encoding: deflate" + END),
    "nested": (PARTS, PART + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x--"),
    "nested-none": (PARTS, PART + b"Content-Type: multipart/mixed\r\n\r\n--x--"),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN_FORMS)
@pytest.mark.parametrize("path", ["/sign-in", "/post?kind=offer"])
async def test_a_form_that_cannot_be_read_is_one_clear_sentence(
    node: Any, browser: Any, broken: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    await browser.sign_in(node)
    kind, body = BROKEN_FORMS[broken]
    async with browser.client.post(
        path, data=body, headers=browser.origin | {"Content-Type": kind}, allow_redirects=False
    ) as response:
        page = await response.text()
    assert response.status < 500
    assert "Traceback" not in page
    assert not [each for each in caplog.records if each.name.startswith("hedgerow")]


@pytest.mark.parametrize("encoding", ["deflate", "gzip", "br", "zz"])
@pytest.mark.parametrize("path", ["/sign-in", "/api/v1/documents"])
async def test_a_body_that_is_not_packed_as_it_says_is_one_clear_sentence(
    node: Any, browser: Any, encoding: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    await browser.sign_in(node)
    kind = "application/json" if "api" in path else FORM
    headers = browser.origin | {"Content-Type": kind, "Content-Encoding": encoding}
    async with browser.client.post(path, data=b"\xff" * 64, headers=headers) as response:
        page = await response.text()
    assert 400 <= response.status < 500
    assert "Traceback" not in page
    assert not [each for each in caplog.records if each.name.startswith("hedgerow")]


async def test_a_fault_of_our_own_is_a_sentence_and_never_a_traceback(
    node: Any, browser: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(node.board, "look", broken)
    status, page = await browser.get("/")
    assert status == 500
    assert "secret detail" not in page
    assert "Traceback" not in page
    assert "secret detail" in caplog.text


async def test_a_full_disk_is_said_and_nothing_typed_is_lost(
    node: Any, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.errors import StorageUnavailable

    async def full(*_: Any) -> None:
        raise StorageUnavailable("no space left on the disk")

    await browser.sign_in(node)
    _, page = await browser.get("/post?kind=offer")
    form = browser.form(page) | {"title": "A long story"}
    monkeypatch.setattr(node.intake, "post", full)
    status, page, _ = await browser.post("/post?kind=offer", form)
    assert status == 503
    assert 'value="A long story"' in page
    monkeypatch.undo()
    assert (await browser.post("/post?kind=offer", form))[0] == 303


async def test_a_slow_sender_is_let_go(node: Any, browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "ANSWER_S_MAX", 0.05)
    await browser.sign_in(node)

    async def slowly() -> Any:
        yield b"title=Br"
        import asyncio

        await asyncio.Event().wait()

    headers = browser.origin | {"Content-Type": "application/x-www-form-urlencoded"}
    async with browser.client.post("/post?kind=offer", data=slowly(), headers=headers) as response:
        assert response.status == 408


@pytest.mark.parametrize(
    ("waiting", "says"), [(1, "1 record from here waits."), (2, "2 records from here wait.")]
)
def test_what_waits_for_a_neighbour_is_said_in_its_number(waiting: int, says: str) -> None:
    news = news_of([{"name": "Charlieu", "state": "away", "backlog_out": waiting}])
    assert news is not None
    assert says in news.rest


def test_durations_dates_and_ages_are_said_as_people_say_them() -> None:
    assert [present.minutes_text(each) for each in (5, 119, 120, 150, 4_320)] == [
        "5 min",
        "119 min",
        "2 h",
        "2 h 30 min",
        "3 days",
    ]
    hour = 3_600_000
    ages = [present.age(0, each) for each in (0, 120_000, 2 * hour, 30 * hour, 72 * hour)]
    assert ages == ["just now", "2 min ago", "2 h ago", "yesterday", "3 days ago"]
    assert present.date_text(1_790_121_599, whole_day=True) == "22 Sep 2026"
    assert present.date_text(10**15, whole_day=True) == "a day beyond our calendar"
