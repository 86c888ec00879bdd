"""A connection tested because somebody asked, and whoever must act told if it is found dead.

Belongs here: that a test which finds what a night's sync would have found alerts as it would. Does
not belong here: the test itself (`vault/connection_test.py`), what was told before (`alerts.py`).
"""

from __future__ import annotations

import logging

from pipedrive_pipeline.errors import NotConnected, Permanent, PipelineError
from pipedrive_pipeline.sync.alerts import Cause, raise_alert
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.vault.connection_test import ConnectionCheck, check_connection
from pipedrive_pipeline.vault.vault import Vault

log = logging.getLogger(__name__)


def proved(vault: Vault, tenant: Tenant, system: str) -> ConnectionCheck:
    """The connection's account, by asking the source; a person is told of what only they can mend.

    A tenant that is not connected waits for nobody: that is told to whoever asked, alone.

    Raises:
        PipelineError: as `check_connection`.
    """
    try:
        return check_connection(vault, tenant, system)
    except Permanent as error:
        if not isinstance(error, NotConnected):
            _tell(vault, tenant, system, error)
        raise


def _tell(vault: Vault, tenant: Tenant, system: str, error: Permanent) -> None:
    cause = Cause(tenant, system, error.code, str(error), error.who_acts)
    try:
        raise_alert(vault.warehouse, vault.settings, cause)
    except PipelineError as untold:  # whoever asked has the answer all the same
        log.warning("%s: no alert could be made: %s", tenant, untold)
