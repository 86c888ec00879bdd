"""HTML pages from templates. Jinja escapes every value, since names come from strangers.

A template has `page` (who looks, in which language and zone), `t` (a text by its key), `records`
(the name of a kind of records), `table_name` (that of one of our tables), `failure` (a failure in
words, by its code), `misfit` (why a value does not fit), and the filters of `FILTERS`, which show
numbers and times.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from pipedrive_pipeline.connect.auth import sessions
from pipedrive_pipeline.connect.pages import texts
from pipedrive_pipeline.connect.pages.display import Display
from pipedrive_pipeline.connect.pages.visitors import Visitor
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.settings import Settings

FOLDER: Final = Path(__file__).parent
STATIC: Final = FOLDER / "static"
LANGUAGE_PARAMETER: Final = "lang"
LANGUAGE_COOKIE: Final = "language"
ZONE_COOKIE: Final = "zone"
CHOICE_SECONDS: Final = 365 * 86_400
FILTERS: Final = (
    "when", "since", "moment", "day", "clock", "duration", "number", "compact", "percent",
)  # fmt: skip


@dataclass(frozen=True)
class PageFrame:
    """What every template needs: the reader, their language and zone, and where they are."""

    request: Request
    visitor: Visitor | None
    display: Display

    @property
    def request_id(self) -> str:
        """The id of the request, by which the operator finds it in the log."""
        return str(self.request.state.request_id)

    @property
    def path(self) -> str:
        """The path of the page, without parameters."""
        return self.request.url.path

    @property
    def languages(self) -> list[tuple[str, str, str]]:
        """Each language with its own name, and this page's address in it."""
        return [
            (language, name, self._in_language(language))
            for language, name in texts.LANGUAGES.items()
        ]

    def address(self, path: str, **parameters: object) -> str:
        """An address of ours; the operator's contains the tenant."""
        return self.visitor.address(path, **parameters) if self.visitor else path

    def _in_language(self, language: str) -> str:
        url = self.request.url.include_query_params(**{LANGUAGE_PARAMETER: language})
        return f"{url.path}?{url.query}"


def page(
    request: Request,
    template: str,
    visitor: Visitor | None = None,
    *,
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> HTMLResponse:
    """The answer that a template makes with these values, in the reader's language and zone."""
    settings = _settings(request)
    shown = PageFrame(request, visitor, display_of(request, visitor))
    content = _templates.get_template(template).render(
        page=shown,
        t=shown.display.text,
        records=shown.display.records,
        table_name=shown.display.table,
        failure=shown.display.failure,
        misfit=shown.display.misfit,
        static=static_address,
        **values,
    )
    answer = HTMLResponse(content, status_code=status_code, headers=dict(headers or {}))
    if request.query_params.get(LANGUAGE_PARAMETER) in texts.LANGUAGES:
        remember(answer, settings, LANGUAGE_COOKIE, shown.display.language)
    return answer


def go_to(address: str) -> Response:
    """Leads the browser to another page of ours after a form."""
    return RedirectResponse(address, status_code=303)


def error(
    request: Request,
    code: str,
    *,
    status: int,
    detail: str = "",
    retry_after_seconds: float | None = None,
) -> HTMLResponse:
    """The page of an error: what happened, what stays true, what to do.

    With ``retry_after_seconds`` the page loads again by itself, if it was asked for by a GET.
    """
    headers, again = {}, None
    if retry_after_seconds is not None:
        headers["retry-after"] = str(ceil(retry_after_seconds))
        if request.method == "GET":
            headers["refresh"] = again = headers["retry-after"]
    return page(
        request,
        "error.html",
        status_code=status,
        headers=headers,
        code=code,
        status=status,
        detail=detail,
        wait_seconds=again and int(again),
    )


def display_of(request: Request, visitor: Visitor | None = None) -> Display:
    """The reader's language and zone: as they chose, else of the browser and the tenant."""
    settings, query = _settings(request), request.query_params
    language = next(
        (
            name
            for name in (query.get(LANGUAGE_PARAMETER), _cookie(request, settings, LANGUAGE_COOKIE))
            if name in texts.LANGUAGES
        ),
        None,
    ) or texts.preferred_language(request.headers.get("accept-language", ""))
    zones = (
        _cookie(request, settings, ZONE_COOKIE),
        visitor.time_zone if visitor else None,
    )
    zone = next((found for name in zones if (found := _zone(name))), None)
    return Display(language, zone or ZoneInfo(settings.default_time_zone), datetime.now(UTC))


def remember(answer: Response, settings: Settings, name: str, value: str) -> None:
    """Stores a choice of the reader in the browser for a year."""
    answer.set_cookie(
        sessions.cookie_name(settings, name),
        value.replace("/", "~"),
        max_age=CHOICE_SECONDS,
        path="/",
        httponly=True,
        secure=sessions.is_https(settings),
        samesite="lax",
    )


@cache
def static_address(name: str) -> str:
    """The address of a static file; it changes with the content, so that it can be cached."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def _cookie(request: Request, settings: Settings, name: str) -> str:
    return request.cookies.get(sessions.cookie_name(settings, name), "").replace("~", "/")


def _zone(name: str | None) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a cookie may hold anything
        return None


def _settings(request: Request) -> Settings:
    services: Services = request.app.state.services
    return services.vault.settings


def _filter(name: str) -> Callable[..., Any]:
    @pass_context
    def shown(context: Context, value: object, *more: object) -> object:
        return getattr(context["page"].display, name)(value, *more)

    return shown


def _without_commands(text: str) -> str:
    """A message without the sentences that name a command: a browser has no shell."""
    kept = [sentence for sentence in _SENTENCE.split(text) if "`" not in sentence]
    return " ".join(kept) or text.partition(":")[0]


_SENTENCE = re.compile(r"(?<=[.;]) ")
_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update({name: _filter(name) for name in FILTERS})
_templates.filters["without_commands"] = _without_commands
