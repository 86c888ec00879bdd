"""FastAPI dependencies that authenticate a request and check its permission."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from pipedrive_pipeline.connect.auth import attempts, callers
from pipedrive_pipeline.connect.auth.callers import Caller
from pipedrive_pipeline.connect.auth.permissions import Permission, roles_with
from pipedrive_pipeline.connect.auth.rate_limits import CRM, MINUTE, CountingWindow
from pipedrive_pipeline.connect.errors import (
    KeyOfCrmUser,
    LinkRefused,
    NotSignedIn,
    PermissionMissing,
    StateRefused,
)
from pipedrive_pipeline.connect.request import Services
from pipedrive_pipeline.connect.unknown_parameters import require_known_headers, require_known_query

BEARER = HTTPBearer(auto_error=False, description="A key of `keys add`, or the operator's.")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")
TENANT_HEADER = "The tenant, with the operator's key; a tenant's own key names its tenant."


class Needs:
    """A dependency that gives the caller, if it has one permission.

    Only routes under `/api/crm/` admit a key that is bound to a user of the CRM: their rows are
    those that the user may see.

    Attributes:
        permission: that the caller must have.
        window: in which the request is counted.
        admits_bound_keys: whether the route shows only what the key's user may see.
        is_strict: whether parameters of the query that the route does not have are refused.
        is_write: whether headers that promise something to writes are refused, too, where the
            route does not regard them.
    """

    def __init__(
        self,
        permission: Permission,
        window: CountingWindow = MINUTE,
        *,
        admits_bound_keys: bool = False,
        is_strict: bool = False,
        is_write: bool = False,
    ) -> None:
        self.permission, self.window = permission, window
        self.admits_bound_keys = admits_bound_keys
        self.is_strict, self.is_write = is_strict, is_write

    def __call__(
        self,
        request: Request,
        _bearer: Annotated[object, Security(BEARER)],
        _api_key: Annotated[object, Security(API_KEY)],
        _tenant: Annotated[str | None, Header(alias="X-Tenant", description=TENANT_HEADER)] = None,
    ) -> Caller:
        """The caller; the other parameters only describe the request in `/openapi.json`."""
        caller = authenticated(request, self.window, admits_bound_keys=self.admits_bound_keys)
        require(caller, self.permission)
        if self.is_strict:
            require_known_query(request)
        if self.is_write:
            require_known_headers(request)
        return caller


def authenticated(
    request: Request, window: CountingWindow = MINUTE, *, admits_bound_keys: bool = False
) -> Caller:
    """The caller of the request, within the rate limit of this window.

    Raises:
        NotSignedIn, Forbidden, OtherTenant, BadInput, BadSlug, UnknownTenant, TooManyRequests: the
            caller must change something.
        KeyOfCrmUser: the key is bound to a user, and the route shows more than that user may see.
    """
    services: Services = request.app.state.services
    caller = callers.of_request(request, services, window)
    if caller.crm_user_id is not None and not admits_bound_keys:
        raise KeyOfCrmUser
    request.state.quota = caller.quota
    request.state.tenant = caller.tenant.slug
    return caller


def require(caller: Caller, permission: Permission) -> None:
    """Returns if the caller has this permission.

    Raises:
        PermissionMissing: an admin, or the operator, must do it.
    """
    if not caller.may(permission):
        raise PermissionMissing(caller.role, permission, roles_with(permission))


@contextmanager
def guarded(request: Request) -> Iterator[None]:
    """A block that looks at a secret other than a key: a state, a link, a client secret.

    Raises:
        TooManyRequests: this address failed too often; the block is not entered.
    """
    services: Services = request.app.state.services
    address = attempts.address_of(request)
    with services.warehouse.connect() as connection:
        attempts.require_allowed(connection, address)
    try:
        yield
    except (StateRefused, LinkRefused, NotSignedIn):
        attempts.record_failure(services.warehouse, address)
        raise


def _of_crm(permission: Permission, *, is_write: bool = False) -> Needs:
    return Needs(permission, CRM, admits_bound_keys=True, is_strict=True, is_write=is_write)


RecordReader = Annotated[Caller, Depends(Needs(Permission.READ_RECORDS))]
RecordSyncer = Annotated[
    Caller, Depends(Needs(Permission.WRITE_RECORDS, is_strict=True, is_write=True))
]
LookupReader = Annotated[Caller, Depends(Needs(Permission.READ_RECORDS, admits_bound_keys=True))]
CrmReader = Annotated[Caller, Depends(_of_crm(Permission.READ_RECORDS))]
RecordWriter = Annotated[Caller, Depends(_of_crm(Permission.WRITE_RECORDS, is_write=True))]
RecordDeleter = Annotated[Caller, Depends(_of_crm(Permission.DELETE_RECORDS, is_write=True))]
MappingWriter = Annotated[Caller, Depends(Needs(Permission.WRITE_MAPPING))]
SyncRequester = Annotated[Caller, Depends(Needs(Permission.ASK_SYNC))]
ConnectionManager = Annotated[Caller, Depends(Needs(Permission.MANAGE_CONNECTION))]
KeyManager = Annotated[Caller, Depends(Needs(Permission.MANAGE_KEYS))]
WebhookManager = Annotated[Caller, Depends(Needs(Permission.MANAGE_WEBHOOKS, is_strict=True))]
CredentialBorrower = Annotated[Caller, Depends(Needs(Permission.LEND_CREDENTIALS))]
AuditReader = Annotated[Caller, Depends(Needs(Permission.READ_AUDIT))]
