"""A person is told when a run ends in something only a person can mend, and when it is mended.

Belongs here: whom, what, and once per cause. Does not belong here: showing history (`status.py`).
Addresses are Apprise's (https://github.com/caronc/apprise/wiki): mail, chat, webhooks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pydantic import SecretStr

from pipedrive_pipeline.errors import Permanent, PipelineError
from pipedrive_pipeline.settings import Settings
from pipedrive_pipeline.sync.history import HistoryRow, RunFacts
from pipedrive_pipeline.vault.cipher import Place
from pipedrive_pipeline.vault.vault import open_vault
from pipedrive_pipeline.warehouse.database import Warehouse

log = logging.getLogger(__name__)


def tell(warehouse: Warehouse, settings: Settings, row: HistoryRow) -> None:
    """Sends at most one alert about a run that has ended; none where the last one said the same."""
    try:
        _tell(warehouse, settings, row)
    except PipelineError as error:  # the run has ended, and its end stands in the history
        log.warning("no alert could be made: %s", error)


def _tell(warehouse: Warehouse, settings: Settings, row: HistoryRow) -> None:
    cause = next((error for error in row.errors if isinstance(error, Permanent)), None)
    before = _cause_before(warehouse, row)
    tenant, run_id = row.facts.tenant, row.facts.dagster_run_id or "none"
    if cause and cause.code != before:
        title = f"{tenant}: {cause.code}, a person must act"
        _send(_addresses(warehouse, settings, row.facts), title, f"{cause}\nDagster run: {run_id}")
    elif before and not row.errors:
        title = f"{tenant}: works again"
        _send(_addresses(warehouse, settings, row.facts), title, f"{before} is over.")


def _cause_before(warehouse: Warehouse, row: HistoryRow) -> str | None:
    """The code of what the run before ended in, if a person had to act."""
    facts = row.facts
    with warehouse.transaction(tenant=facts.tenant) as connection:
        found = connection.execute(
            _LAST_CODES, [facts.tenant.slug, facts.system, row.id]
        ).fetchone()
    permanent = _codes_below(Permanent)
    return next((code for code in (found[0] if found else None) or [] if code in permanent), None)


def _codes_below(kind: type[Permanent]) -> set[str]:
    return {kind.code}.union(*(_codes_below(inner) for inner in kind.__subclasses__()))


def _addresses(warehouse: Warehouse, settings: Settings, facts: RunFacts) -> list[SecretStr]:
    """The operator's addresses and the tenant's own."""
    with warehouse.transaction(tenant=facts.tenant) as connection:
        found = connection.execute(
            "select alert_urls from integration.sync_settings where tenant_id = %s and system = %s",
            [facts.tenant.slug, facts.system],
        ).fetchone()
    own = list(settings.alert_urls)
    if found and found[0]:
        place = Place(facts.tenant, facts.system, "sync_settings.alert_urls")
        opened = open_vault(warehouse, settings).cipher.open(found[0], place)
        own += [SecretStr(url) for url in opened.get_secret_value().split(",")]
    return own


def _send(addresses: Sequence[SecretStr], title: str, body: str) -> None:
    """An alert that cannot be sent is logged, without its address: a run does not fail for it."""
    if not addresses:
        return
    import apprise

    sender = apprise.Apprise()
    for address in addresses:
        sender.add(address.get_secret_value())
    if not sender.notify(title=title, body=body):
        log.warning("an alert could not be sent to every address: %s", title)


_LAST_CODES = """
select array(select jsonb_path_query(sync_logs.errors, '$[*].code') #>> '{}')
from integration.sync_logs as sync_logs
where sync_logs.tenant_id = %s and sync_logs.system = %s and sync_logs.id <> %s
    and sync_logs.status <> 'running'
order by sync_logs.started_at desc, sync_logs.id desc
limit 1
"""
