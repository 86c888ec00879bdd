"""Failed attempts: after too many, nothing of that address or account is looked at for a while.

Wrong keys count for their address and for the account that they name (a tenant, or the operator);
forged states, unknown links and wrong notices count for their address. The delay doubles with each
further failure. An account that is attacked from many addresses stays open to the addresses that
sent a valid key for it lately.
"""

from __future__ import annotations

import ipaddress

import psycopg
from fastapi import Request

from pipedrive_pipeline.connect.auth import keys, signing
from pipedrive_pipeline.connect.errors import TooManyRequests
from pipedrive_pipeline.warehouse.database import Warehouse

FAILURES_OF_ADDRESS = 20
FAILURES_OF_ACCOUNT = 200  # from all addresses together
FIRST_DELAY_SECONDS = 15
DELAY_SECONDS_MAX = 900
DOUBLINGS_MAX = 10
OPERATOR_ACCOUNT = "operator"
IPV6_PREFIX = 64  # one customer's network
HASH_CHARACTERS = 5  # a million different subjects at most, which bounds the table


def address_of(request: Request) -> str:
    """Short hash of the client's address; of its /64 network for IPv6."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        network = host
    else:
        prefix = IPV6_PREFIX if address.version == 6 else address.max_prefixlen
        network = str(ipaddress.ip_network((address, prefix), strict=False))
    return signing.hashed(network)[:HASH_CHARACTERS]


def account_of(key_text: str) -> str:
    """The account that a key names: a tenant, or the operator."""
    tenant = keys.tenant_named_in(key_text)
    return tenant.slug if tenant else OPERATOR_ACCOUNT


def require_allowed(
    connection: psycopg.Connection, address: str, account: str | None = None
) -> None:
    """Returns if attempts of this address, and at this account, are looked at now.

    Args:
        connection: as the engine.
        address: of `address_of`.
        account: of `account_of`; None if the attempt names none.

    Raises:
        TooManyRequests: too many failed; the rest of the delay is `wait_seconds`.
    """
    row = connection.execute(_WAIT, {"address": address, "account": account}).fetchone()
    if row and row[0] is not None and row[0] > 0:
        raise TooManyRequests(row[0])


def record_failure(warehouse: Warehouse, address: str, account: str | None = None) -> None:
    """Counts a failure and deletes those that are older than an hour."""
    values = {
        "address": f"address {address}",
        "account": account and f"account {account}",
        "tenant": account,
        "of_address": FAILURES_OF_ADDRESS,
        "of_account": FAILURES_OF_ACCOUNT,
        "first_delay": FIRST_DELAY_SECONDS,
        "delay_max": DELAY_SECONDS_MAX,
        "doublings_max": DOUBLINGS_MAX,
        "operator": OPERATOR_ACCOUNT,
    }
    with warehouse.transaction() as connection:
        connection.execute(_DELETE_OLD)
        connection.execute(_RECORD, values)


_WAIT = """
select extract(epoch from max(failed_attempts.refused_until) - clock_timestamp())::float
from integration.failed_attempts
where failed_attempts.subject = 'address ' || %(address)s
    or (
        failed_attempts.subject = 'account ' || %(account)s::text
        and not exists (
            select
            from integration.request_windows
            where %(address)s = any(request_windows.addresses)
                and (
                    request_windows.tenant_id = %(account)s
                    or (%(account)s = 'operator' and request_windows.caller = 'the operator')
                )
        )
    )
"""
_DELETE_OLD = """
delete from integration.failed_attempts
where failed_attempts.last_failed_at < now() - interval '1 hour'
"""
# An account that does not exist is not stored: its number would have no bound.
_RECORD = """
insert into integration.failed_attempts as stored (
    subject, tenant_id, failures, last_failed_at, refused_until
)
select
    attempt.subject,
    attempt.tenant_id,
    1,
    clock_timestamp(),
    null
from (
    select
        %(address)s::text as subject,
        null::text as tenant_id
    union all
    select
        %(account)s::text,
        tenants.slug
    from integration.tenants
    where tenants.slug = %(tenant)s::text
    union all
    select
        %(account)s::text,
        null
    where %(tenant)s::text = %(operator)s::text
) as attempt
order by attempt.subject asc
on conflict (subject) do update
set failures = stored.failures + 1,
    last_failed_at = clock_timestamp(),
    refused_until = (
        select
            case
                when rule.failures >= rule.allowed then clock_timestamp() + make_interval(
                    secs => least(
                        %(delay_max)s::float,
                        %(first_delay)s::float
                        * 2 ^ least(rule.failures - rule.allowed, %(doublings_max)s::integer)
                    )
                )
            end
        from (
            select
                stored.failures + 1 as failures,
                case
                    when stored.subject like 'address %%' then %(of_address)s::integer
                    else %(of_account)s::integer
                end as allowed
        ) as rule
    )
"""
