"""Page → raw row: the dlt pipeline of one tenant, and the loop that feeds it.

Belongs here: columns, loads, cursors, marks of deletion, former values of records (`history.py`).
Does not belong here: HTTP (`connectors/`), the history of runs and locks (`sync/`), marts.

`refresh` is what code outside calls with nothing but settings. The package imports neither dlt nor
Arrow until a refresh begins, so that a command line may import it.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipedrive_pipeline.ingest.outcome import Refreshed
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.tenants import Tenant

__all__ = ["Refreshed", "refresh"]


def refresh(tenant: Tenant | str, system: str, entity: str, ids: Iterable[int | str]) -> Refreshed:
    """Reads these records again and merges them into raw; a newer stored version is kept.

    If another run reads the tenant, the records are signalled to it (`is_signalled`): it reads them
    at its next chunk and builds the marts at once.

    Settings come from the environment. A refresh is one short run of the tenant: it takes the
    tenant's lock, uses the tenant's credential, stays within its share of the day's budget and
    counts every call. The next build of the marts includes the rows. No cursor moves and no record
    is marked as deleted: the result lists the ids that the source no longer gives, and the next
    sweep decides about them.

    Args:
        tenant: whose records.
        system: the system's key: ``pipedrive``.
        entity: the kind of record: ``persons``.
        ids: the records' keys; 100 keys cost one call, no keys cost none. Of an entity that is read
            as `Children`, the keys of their parents.

    Raises:
        UnknownTenant, BadInput: a wrong argument; nothing was begun.
        NotConnected, ReauthNeeded, ScopeMissing: a person must act.
        BudgetSpent: the tenant's share of the day is spent; ``resets_at`` says when it returns.
        SourceUnavailable, DatabaseUnavailable: a rerun may help.
    """
    # The tenant's lock and budget belong to `sync`, a higher layer; pyproject.toml lists this
    # import as the one exception.
    from pipedrive_pipeline.sync.signals.refresh import refresh_records

    keys = list(dict.fromkeys(str(record_id) for record_id in ids))
    checked_tenant = tenant if isinstance(tenant, Tenant) else Tenant(tenant)
    return refresh_records(Scope(checked_tenant, system), entity, keys)
