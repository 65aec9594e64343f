"""Makes `docs/board.png`: a picture of the page, taken from running towns by Debian's Chromium.

    ./hedgerow test --version           (makes the environment, with the tools of the tests)
    .venv/bin/python docs/picture.py

Three towns are started as in the demo and filled with its data in turns, and the board of the first is
photographed once all hold the same.
"""

import asyncio
import itertools
import json
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from node.demo.corpus import Entry, corpus, find_town
from node.demo.line import running, until
from protocol.kinds import KINDS

PICTURE = Path(__file__).with_name("board.png")
TOWNS = ("Roanne", "Charlieu", "Ambierle")
DOCUMENTS_OF_A_TOWN = 90
DOCUMENTS_IN_A_TURN = 3
WIDTH, HEIGHT = 1_180, 860


def _line(entry: Entry) -> str:
    return json.dumps({"kind": entry.kind, "fields": KINDS[entry.kind].to_json(entry.fields)})


async def take(path: Path) -> None:
    """Start the towns, fill them, and write the picture of the first one's board."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("picture: Chromium is needed: sudo apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        async with running(TOWNS, Path(folder)) as line:
            await line.federate()
            boards = [
                corpus(number, size=DOCUMENTS_OF_A_TOWN, place=find_town(town.name))
                for number, town in enumerate(line.towns)
            ]
            for _ in range(DOCUMENTS_OF_A_TOWN // DOCUMENTS_IN_A_TURN):
                for town, board in zip(line.towns, boards, strict=True):
                    turn = itertools.islice(board, DOCUMENTS_IN_A_TURN)
                    await town.ask("import", lines=[_line(entry) for entry in turn])
            await until("all towns hold the same", line.equal)
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                await page.goto(line.towns[0].url)
                await page.screenshot(path=path)
                await browser.close()


if __name__ == "__main__":
    asyncio.run(take(PICTURE))
