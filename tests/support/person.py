"""A person with a browser: follows redirects, keeps cookies, fills in forms.  It blocks: give it a thread."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from typing import IO, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

MOST_FORMS = 4


@dataclass
class Form:
    """A form: where it goes, what it brings along, and its buttons."""

    action: str
    hidden: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Page:
    """What the browser shows; ``form`` is the page's first, if it has one."""

    url: str
    status: int
    headers: Mapping[str, str]
    text: str
    form: Form | None = None

    @property
    def query(self) -> dict[str, str]:
        """What the address carries."""
        return dict(parse_qsl(urlsplit(self.url).query))


class _Forms(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert given["method"] == "post"
            self.forms.append(Form(urljoin(self._url, given["action"])))
        elif tag == "input" and given.get("type") == "hidden":
            self.forms[-1].hidden[given["name"]] = given["value"]
        elif tag == "button" and "name" in given:
            self.forms[-1].buttons.append((given["name"], given["value"]))


class _Stop(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not to where nobody listens."""

    def __init__(self, stop: str) -> None:
        self._stop = stop

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if self._stop and newurl.startswith(self._stop):
            return None
        # A redirect of any number after a form is a GET, but for 307 and 308, which no login here uses.
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Person:
    """A person who logs in; ``stop`` begins the address of a client that the browser cannot reach."""

    def __init__(self, stop: str = "") -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(CookieJar()),
            _Stop(stop),
        )

    def visit(self, url: str, form: Mapping[str, str] | None = None) -> Page:
        """The page at the end of all redirects; that of the last redirect, if it leads to ``stop``."""
        data = urlencode(form).encode() if form is not None else None
        try:
            response = self._opener.open(url, data, timeout=30)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            text = response.read().decode()
        at = response.url
        if response.status in (301, 302, 303, 307, 308):
            at = urljoin(at, response.headers["Location"])
        parser = _Forms(at)
        parser.feed(text)
        return Page(at, response.status, response.headers, text, next(iter(parser.forms), None))

    def log_in(self, url: str, answers: Mapping[str, str]) -> Page:
        """Fill in every form on the way with the same answers; returns the page after the last."""
        page = self.visit(url)
        for _ in range(MOST_FORMS):
            if page.form is None:
                return page
            page = self.visit(page.form.action, {**page.form.hidden, **answers})
        raise AssertionError(f"too many forms: {page.text}")
