"""A connection test that alerts as a sync does if the connection needs a person to act."""

from __future__ import annotations

import logging

from pipedrive_pipeline.errors import NotConnected, Permanent, PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.status.alerts import Cause, raise_alert
from pipedrive_pipeline.sync.tenancy.configuration import entities_read
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.connection_test import ConnectionCheck, check_connection
from pipedrive_pipeline.vault.vault import Vault

log = logging.getLogger(__name__)


def check_connection_and_alert(vault: Vault, tenant: Tenant, system: str) -> ConnectionCheck:
    """Calls the source and returns the connection's account; alerts on a permanent error.

    A tenant that is not connected raises no alert: only the caller sees the error.

    Raises:
        PipelineError: as `check_connection`.
    """
    scope = Scope(tenant, system)
    try:
        return check_connection(vault, scope, entities_read(vault.warehouse, scope).values())
    except Permanent as error:
        if not isinstance(error, NotConnected):
            _alert(vault, tenant, system, error)
        raise


def _alert(vault: Vault, tenant: Tenant, system: str, error: Permanent) -> None:
    cause = Cause(tenant, system, error.code, str(error), error.who_acts)
    try:
        raise_alert(vault.warehouse, vault.settings, cause)
    except PipelineError as alert_error:  # the caller gets the answer of the test all the same
        log.warning("%s: no alert could be made: %s", tenant, alert_error)
