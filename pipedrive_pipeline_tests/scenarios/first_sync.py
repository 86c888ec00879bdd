"""The first full sync of a company, made once: later tests get a copy of the database after it.

A first sync of a small company takes three seconds, a copy of a database a tenth of one. The copy
is the same in everything but the address of the sandbox.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from pipedrive_pipeline.sandbox import CrmAccount, Sandbox
from pipedrive_pipeline_tests.databases import at, copy, drop

_synced: dict[tuple[str, str], str] = {}  # URLs after the sync, by server and fingerprint


def copy_or_sync(url: str, sandbox: Sandbox, sync: Callable[[], object]) -> None:
    """Makes the database as a first sync leaves it: by a copy if an equal one was made before."""
    if sandbox.faults.waiting() or sandbox.clock.is_frozen or abs(sandbox.clock.shift_seconds) > 1:
        sync()
        return
    key = (urlsplit(url).query, _fingerprint(url, sandbox))
    if key not in _synced:
        sync()
        name = f"synced_{uuid4().hex}"
        copy(url, name)
        _synced[key] = at(url, name)
        return
    drop(url)
    copy(_synced[key], urlsplit(url).path[1:])
    with psycopg.connect(url) as connection:
        connection.execute("update integration.connections set api_domain = %s", [sandbox.url])


def _fingerprint(url: str, sandbox: Sandbox) -> str:
    """What determines the database: the company as it is served, and the rows that exist."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(_ROWS).fetchone()
    whole = [_content(sandbox.account), repr(sandbox.options), rows]
    return hashlib.sha256(json.dumps(whole, default=repr).encode()).hexdigest()


def _content(account: CrmAccount) -> list[object]:
    records = {
        name: [rows.get(row_id) for row_id in range(1, rows.last_id + 1)]
        for name, rows in account.records.items()
    }
    fields = {name: [*book] for name, book in account.fields.items()}
    whole = [records, fields, account.users, account.rights, [*account.deleted_at.items()]]
    return [*whole, [*account.late.items()], account.company_id, account.shows_unset]


_ROWS = """
select
    (
        select jsonb_agg(to_jsonb(tenants) - 'created_at' order by tenants.slug)
        from integration.tenants
    )::text,
    (
        select jsonb_agg(to_jsonb(sync_settings) - '{created_at,updated_at}'::text[])
        from integration.sync_settings
    )::text,
    (select count(*) from integration.connections),
    (select count(*) from integration.runs),
    (select count(*) from integration.field_mappings),
    (select count(*) from pg_catalog.pg_class)
"""
