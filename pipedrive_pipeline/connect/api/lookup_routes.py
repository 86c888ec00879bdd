"""The JSON routes of the look-up: who is calling, who wrote, whose domain is it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from pipedrive_pipeline.connect.api import envelope, lookup_models
from pipedrive_pipeline.connect.api.crm.reading import as_caller
from pipedrive_pipeline.connect.api.cursors import (
    PAGE_ROWS,
    PageCursor,
    PageLimit,
    decoded,
    row_number,
)
from pipedrive_pipeline.connect.api.lookup_models import TEXT_MAX_CHARACTERS
from pipedrive_pipeline.connect.api.models import Answer, Listed
from pipedrive_pipeline.connect.api.openapi import REFUSALS
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.dependencies import LookupReader
from pipedrive_pipeline.connect.request import AppServices, Services
from pipedrive_pipeline.marts.contact_points import lookup
from pipedrive_pipeline.marts.contact_points.lookup import Found, Question
from pipedrive_pipeline.marts.contact_points.upkeep import country_of
from pipedrive_pipeline.sync.lookup import search_sources

router = APIRouter(prefix="/api/crm/lookup", responses=REFUSALS, tags=["look-up"])

Phone = Annotated[
    str | None,
    Query(
        max_length=TEXT_MAX_CHARACTERS,
        description="In any form; without a country code it is a number of the tenant's country.",
        examples=["+49 30 1234567"],
    ),
]
Email = Annotated[str | None, Query(max_length=TEXT_MAX_CHARACTERS, examples=["ann@acme.example"])]
Domain = Annotated[
    str | None,
    Query(
        max_length=TEXT_MAX_CHARACTERS,
        description="Or an address of the website. One of a free mail service has no match.",
        examples=["acme.example"],
    ),
]


@router.get("", response_model=Answer[lookup_models.LookUp])
def look_up(
    *,
    request: Request,
    services: AppServices,
    caller: LookupReader,
    phone: Phone = None,
    email: Email = None,
    domain: Domain = None,
    fallback: Annotated[
        Literal["source"] | None,
        Query(
            description="If crm has no match, the connected systems are searched, within the "
            "tenant's share of the day's tokens; what they have is brought in and answered."
        ),
    ] = None,
) -> JSONResponse:
    """Who has a phone number, an e-mail address or a domain; give one of the three."""
    asked = lookup_models.LookUpIn(phone=_with_plus(phone), email=email, domain=domain)
    question = asked.question()
    (found,) = _answers(services, caller, [question])
    if found.rows or found.value is None or fallback is None:
        return envelope.answer(request, lookup_models.presented(found))
    with services.slow_work.slot(caller.tenant):
        searched = search_sources(
            services.vault, caller.tenant, question.kind, question.spellings(found.value)
        )
    (found,) = _answers(services, caller, [question])
    if caller.crm_user_id is not None and not found.rows:
        searched = [each.as_unseen() for each in searched]
    return envelope.answer(request, lookup_models.presented(found, searched))


@router.post("", response_model=Listed[lookup_models.LookUp])
def look_up_many(
    request: Request,
    services: AppServices,
    caller: LookupReader,
    asked: lookup_models.LookUpsIn,
) -> JSONResponse:
    """The same for up to 100 numbers, addresses and domains, answered in their order."""
    questions = [each.question() for each in asked.look_ups]
    answers = _answers(services, caller, questions)
    return envelope.answer(request, [lookup_models.presented(found) for found in answers])


@router.get("/unreadable", response_model=Listed[lookup_models.Unreadable])
def unreadable(
    request: Request,
    services: AppServices,
    caller: LookupReader,
    limit: PageLimit = PAGE_ROWS,
    cursor: PageCursor = None,
) -> JSONResponse:
    """Phone numbers, addresses and websites of records that cannot be read, and so not be found."""
    after = decoded(cursor, row_number)[0] if cursor else None
    with as_caller(services.warehouse, caller) as connection:
        rows = lookup.unreadable(connection, caller.tenant, after=after, limit=limit + 1)
    return envelope.page(
        request,
        rows,
        limit,
        shown=lookup_models.Unreadable.model_validate,
        place=lambda row: [row.id],
    )


def _answers(services: Services, caller: Caller, questions: Sequence[Question]) -> list[Found]:
    """The answers from the rows that the caller may see."""
    with as_caller(services.warehouse, caller) as connection:
        country = country_of(connection, caller.tenant)
        return lookup.look_up(connection, caller.tenant, country, questions)


def _with_plus(phone: str | None) -> str | None:
    """A number whose `+` was not escaped in the address, where it means a space."""
    return f"+{phone.lstrip()}" if phone and phone[0] == " " and phone.strip() else phone
