"""Templates, the style sheet, and how a page leaves: escaped, compressed, with the headers that guard it."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from hashlib import blake2b
from importlib.resources import files
from typing import Final

from aiohttp import web
from jinja2 import Environment, FunctionLoader, StrictUndefined

from node.web.present import Card

GZIP_LEVEL: Final = 5
"""A page of 20 cards becomes about 3 kB; level 9 would save 40 bytes and cost twice the time."""
GZIP_FROM_BYTES: Final = 1_000
"""Less than one packet is not worth it."""

_ROOT = files("node.web")


def _source(name: str) -> str | None:
    found = _ROOT.joinpath("templates", name)
    return found.read_text("utf-8") if found.is_file() else None


def _small(css: str) -> str:
    """Return a style sheet without comments and needless blanks; people read the file, browsers this."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    css = re.sub(r"\s+", " ", css)
    return re.sub(r" ?([{};,>]) ?", r"\1", css).replace(";}", "}").strip()


STYLE: Final = _small(_ROOT.joinpath("static", "style.css").read_text("utf-8")).encode("utf-8")
"""The one style sheet."""
STYLE_NAME: Final = f"/static/style-{blake2b(STYLE, digest_size=5).hexdigest()}.css"
"""Its name changes with what is in it, so that browsers may keep it for ever."""
_STYLE_GZIP: Final = gzip.compress(STYLE, 9, mtime=0)

_environment: Final = Environment(
    loader=FunctionLoader(_source),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
    keep_trailing_newline=False,
)
_environment.globals["style"] = STYLE_NAME


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a page as HTML; every value is escaped."""
    return _environment.get_template(template).render(values)


def card_html(card: Card) -> str:
    """Return a card as HTML, escaped by its template."""
    return _environment.get_template("_card.html").render(card=card)


class Pressed:
    """A page as bytes, compressed when the first browser asks for that."""

    def __init__(self, text: str) -> None:
        """Take a rendered page."""
        self.plain = text.encode("utf-8")
        self._small: bytes | None = None

    @property
    def small(self) -> bytes:
        """The page in gzip."""
        if self._small is None:
            self._small = gzip.compress(self.plain, GZIP_LEVEL, mtime=0)
        return self._small


def html(
    request: web.Request, page: str | Pressed, *, status: int = 200, etag: str | None = None
) -> web.Response:
    """Return a page as a response, compressed where the browser can read that."""
    pressed = page if isinstance(page, Pressed) else Pressed(page)
    headers = {"Content-Type": "text/html; charset=utf-8", "Vary": "Accept-Encoding, Cookie"}
    headers["Cache-Control"] = "private, no-cache" if etag else "no-store"
    if etag:
        headers["ETag"] = etag
    if len(pressed.plain) >= GZIP_FROM_BYTES and accepts_gzip(request):
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=pressed.small, status=status, headers=headers)
    return web.Response(body=pressed.plain, status=status, headers=headers)


def style_sheet(request: web.Request) -> web.Response:
    """Return the style sheet; it may be kept for ever under its name."""
    headers = {
        "Content-Type": "text/css; charset=utf-8",
        "Cache-Control": "public, max-age=31536000, immutable",
        "Vary": "Accept-Encoding",
    }
    if accepts_gzip(request):
        return web.Response(body=_STYLE_GZIP, headers=headers | {"Content-Encoding": "gzip"})
    return web.Response(body=STYLE, headers=headers)


def accepts_gzip(request: web.Request) -> bool:
    """Tell whether the browser reads gzip."""
    return "gzip" in request.headers.get("Accept-Encoding", "")
