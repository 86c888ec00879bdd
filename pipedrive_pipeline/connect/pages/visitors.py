"""The signed-in person who looks at a page, as dependencies of the routes.

A GET route takes `TenantVisitor` (or `AnyVisitor`, if the operator may see it without a tenant); a
route that changes something takes `FormVisitor`, which also checks that a form of ours sent it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import urlencode

import psycopg
from fastapi import Depends, Query, Request

from pipedrive_pipeline.connect.auth import callers, csrf, sessions
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.dependencies import require
from pipedrive_pipeline.connect.auth.permissions import Permission
from pipedrive_pipeline.connect.auth.sessions import Session
from pipedrive_pipeline.connect.errors import NotSignedIn
from pipedrive_pipeline.connect.request import AppServices, SentBody, Services
from pipedrive_pipeline.sync.status.problems import ProblemCounts, count_problems
from pipedrive_pipeline.tenants import Tenant

TENANT_MAX_CHARACTERS: Final = 64
TenantParameter = Annotated[str | None, Query(alias="tenant", max_length=TENANT_MAX_CHARACTERS)]


class SignInFirst(Exception):
    """There is no open session; the browser is led to the login page."""


class TenantFirst(Exception):
    """The operator named no tenant; the browser is led to the list of tenants."""


@dataclass(frozen=True)
class Visitor:
    """A signed-in person, with the tenant whose pages they see."""

    session: Session
    form_token: str  # of every form of this session
    caller: Caller | None = None  # None: the operator, without a tenant
    tenant_name: str = ""  # for people
    time_zone: str | None = None  # of the tenant
    problems: ProblemCounts = field(default_factory=ProblemCounts)  # of the tenant, or of all

    @property
    def is_operator(self) -> bool:
        """True for the operator, with or without a tenant."""
        return self.session.tenant is None

    @property
    def acting(self) -> Caller:
        """The caller, on pages of a tenant.

        Raises:
            TenantFirst: the operator named no tenant.
        """
        if self.caller is None:
            raise TenantFirst
        return self.caller

    @property
    def tenant(self) -> Tenant:
        """The tenant whose pages these are. Raises as `acting`."""
        return self.acting.tenant

    @contextmanager
    def rows(self, services: Services) -> Iterator[psycopg.Connection]:
        """A transaction that sees the rows of the tenant; of all tenants without one."""
        if self.caller is None:
            with services.warehouse.transaction() as connection:
                yield connection
        else:
            with services.warehouse.as_app(self.caller.tenant) as connection:
                yield connection

    def may(self, permission: Permission) -> bool:
        """True if the visitor may do this to the tenant."""
        return self.caller is not None and self.caller.may(permission)

    def require(self, permission: Permission) -> Caller:
        """The caller, if they have this permission.

        Raises:
            PermissionMissing: an admin, or the operator, must do it.
        """
        require(self.acting, permission)
        return self.acting

    def address(self, path: str, **parameters: object) -> str:
        """An address of ours with its parameters; the operator's contains the tenant."""
        given = {name: value for name, value in parameters.items() if value not in {None, ""}}
        if self.is_operator and self.caller is not None:
            given["tenant"] = self.caller.tenant.slug
        return f"{path}?{urlencode(given, doseq=True)}" if given else path


def any_visitor(request: Request, services: AppServices, tenant: TenantParameter = None) -> Visitor:
    """The visitor by the browser's session; the operator's tenant is in the address.

    Raises:
        SignInFirst: there is no open session.
        OtherTenant, UnknownTenant, BadSlug, TooManyRequests: as `callers.of_session`.
    """
    session = sessions.of_browser(request, services.vault.settings)
    if session is None:
        raise SignInFirst
    return _visitor(request, services, session, tenant)


def tenant_visitor(visitor: Annotated[Visitor, Depends(any_visitor)]) -> Visitor:
    """The visitor of a page that belongs to one tenant.

    Raises:
        SignInFirst, TenantFirst: see there.
    """
    _ = visitor.acting
    return visitor


def form_visitor(request: Request, services: AppServices, sent: SentBody) -> Visitor:
    """The visitor who sent a form of ours; the operator's tenant is a field of it.

    Raises:
        SignInFirst: there is no open session.
        Forbidden: another page, or no page, sent it.
    """
    settings = services.vault.settings
    session = sessions.of_browser(request, settings)
    if session is None:
        raise SignInFirst
    csrf.require_own_form(request, settings, session.secret, sent.text("form_token"))
    return _visitor(request, services, session, sent.text("tenant") or None)


def _visitor(
    request: Request, services: Services, session: Session, named_tenant: str | None
) -> Visitor:
    token = csrf.form_token(services.vault.settings, session.secret)
    if session.tenant is None and named_tenant is None:
        with services.warehouse.connect() as connection:
            if not sessions.is_open_for_operator(connection, services.vault.settings, session):
                raise SignInFirst
            problems = count_problems(connection)
        return Visitor(session, token, problems=problems)
    try:
        caller = callers.of_session(request, services, session, named_tenant)
    except NotSignedIn:
        raise SignInFirst from None
    with services.warehouse.as_app(caller.tenant) as connection:
        name, zone = name_and_zone(connection, caller.tenant)
        problems = count_problems(connection, caller.tenant)
    return Visitor(session, token, caller, name, zone, problems)


def name_and_zone(connection: psycopg.Connection, tenant: Tenant) -> tuple[str, str | None]:
    """The name of a tenant for people, and its time zone."""
    row = connection.execute(
        "select coalesce(nullif(tenants.display_name, ''), tenants.slug), tenants.time_zone"
        " from integration.tenants where tenants.slug = %s",
        (tenant.slug,),
    ).fetchone()
    return (row[0], row[1]) if row else (tenant.slug, None)


AnyVisitor = Annotated[Visitor, Depends(any_visitor)]
TenantVisitor = Annotated[Visitor, Depends(tenant_visitor)]
FormVisitor = Annotated[Visitor, Depends(form_visitor)]
