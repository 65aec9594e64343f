"""A town as in tests/node/, served on a port, and Chromium to look at it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, async_playwright

from node.web.app import make_app
from node.web.site import SITE, Site

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
"""Without windows, and all that belongs to them, a page costs half the time."""
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
AXE = Path(__file__).parent / "axe.min.js"


def _towns() -> Any:
    """Return the fixtures of tests/node/: test directories are no packages, so it is found by its path."""
    name = "hedgerow_test_towns"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "node" / "conftest.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@dataclass
class Served:
    """A town whose pages are served."""

    node: Any
    base: str
    site: Site
    chromium: Browser

    async def context(self, *, signed_in: bool = False, **options: Any) -> BrowserContext:
        """Return a fresh browser profile, as an operator's if `signed_in`."""
        context = await self.chromium.new_context(base_url=self.base, **options)
        if signed_in:
            # By the context's own requests, which share its cookies: a page that is closed while the answer
            # to a form is still arriving may never be closed in some versions of Chromium.
            form = {"token": await self.node.accounts.make_link()}
            await context.request.post("/sign-in", form=form, headers={"Origin": self.base})
        return context


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests of a file; whoever looks at a page does so in a fresh profile."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    # Chromium's own sandbox needs a user that is not root.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def served(tmp_path: Path, chromium: Browser) -> AsyncIterator[Served]:
    """Roanne and its neighbour, on a port of the machine, with a browser."""
    node = _towns().TestNode(tmp_path)
    await node.begin()
    app = make_app(node)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    yield Served(node, f"http://127.0.0.1:{port}", app[SITE], chromium)
    await runner.cleanup()
    await node.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    return AXE.read_text("utf-8")
