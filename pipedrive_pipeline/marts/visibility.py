"""Who may see a row of a mart: the condition of the policies that bind a key to a user of the CRM.

A transaction says for which user it reads by local settings (`become_user`); without them it sees
every row of its tenant. What a value of ``visible_to`` means is the system's declaration
(`System.audiences`); a value that it does not name is for the owner only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from pipedrive_pipeline.connectors.contract import Audience
from pipedrive_pipeline.connectors.registry import systems
from pipedrive_pipeline.marts.declared import Link, Mart, mart
from pipedrive_pipeline.tenants import Tenant

VISIBLE_TO: Final = "visible_to"
_AND: Final = "            and "  # on a line of its own


# Functions of sql/functions/bound_keys.sql. By the sub-selects each is called once a statement.
USER: Final = "(select pipeline.key_user())"
SYSTEM: Final = "(select pipeline.key_system())"
GROUP: Final = "(select pipeline.key_group())::uuid[]"  # the user, and those with the same role
SEEN_BY_GROUP: Final = "(select pipeline.seen_by_group())::text[]"
SEEN_BY_EVERYBODY: Final = "(select pipeline.seen_by_everybody())::text[]"


def is_restricted(declared: Mart) -> bool:
    """True if not everybody may see every row of a mart."""
    return _has_audience(declared) or bool(declared.visible_with)


def policy_condition(declared: Mart) -> str:
    """Returns the condition of the policy of a mart's table, for every transaction of the app."""
    return f"{USER} is null\n    or {visible_to_user(declared, declared.name, in_policy=True)}"


def visible_to_user(declared: Mart, alias: str, *, in_policy: bool = False) -> str:
    """Returns the condition on a row ``alias`` that the user of the settings may see it.

    Args:
        declared: the mart of the row.
        alias: of the row in the query.
        in_policy: the policies of linked tables hold for the query's role, so that a linked row
            that it sees may be seen.
    """
    anyone = "\n        or ".join(
        f"({each})" for each in _allowed(declared, alias, in_policy=in_policy)
    )
    return f"{alias}.system = {SYSTEM} and (\n        {anyone}\n    )"


def _allowed(declared: Mart, alias: str, *, in_policy: bool) -> Iterator[str]:
    """Yields the conditions of which one is enough."""
    owner = declared.owned_by
    if owner:
        yield f"{alias}.{owner} = {USER}"
    if _has_audience(declared):
        yield f"{alias}.{VISIBLE_TO} = any ({SEEN_BY_EVERYBODY})"
        yield f"{alias}.{VISIBLE_TO} = any ({SEEN_BY_GROUP})\n{_AND}{alias}.{owner} = any ({GROUP})"
    links = [link for link in declared.links if link.name in declared.visible_with]
    if links:
        names = ", ".join(f"{alias}.{link.remote_column}" for link in links)
        each = (_linked_is_visible(link, alias, in_policy=in_policy) for link in links)
        yield _AND.join((f"coalesce({names}) is not null\n", *each)).rstrip()


def _has_audience(declared: Mart) -> bool:
    has_column = any(column.name == VISIBLE_TO for column in declared.columns)
    return has_column and declared.owned_by is not None


def _linked_is_visible(link: Link, alias: str, *, in_policy: bool) -> str:
    target, linked = mart(link.mart), f"{alias}_{link.name.removesuffix('_id')}"
    also = "" if in_policy else f" and {visible_to_user(target, linked)}"
    return (
        f"({alias}.{link.remote_column} is null or exists (\n"
        f"                select from crm.{target.name} as {linked}\n"
        f"                where {linked}.tenant_id = {alias}.tenant_id\n"
        f"                    and {linked}.id = {alias}.{link.name}{also}\n            ))\n"
    )


def become_user(connection: psycopg.Connection, tenant: Tenant, user_id: UUID) -> None:
    """Limits the rest of the transaction to what a user of the CRM may see.

    Args:
        connection: before it has the role of the app, which alone is limited.
        tenant: whose.
        user_id: of the user's row in `crm.users`; one without a row sees nothing.
    """
    audiences = {each.key: _by_audience(each.audiences) for each in systems()}
    values = {"tenant": tenant.slug, "user_id": user_id, "audiences": Jsonb(audiences)}
    connection.execute(_BECOME, values)


def _by_audience(audiences: Mapping[str, Audience]) -> dict[Audience, list[str]]:
    """Returns the values of ``visible_to`` for each audience."""
    values: dict[Audience, list[str]] = {"group": [], "everybody": []}
    for value, audience in audiences.items():
        values.setdefault(audience, []).append(value)
    return values


# A key is unbound only where pipeline.crm_user_id is empty, so it is always set.
_BECOME = """
with this_user as (
    select
        users.system,
        users.role,
        %(audiences)s::jsonb -> users.system as audiences
    from crm.users
    where users.tenant_id = %(tenant)s
        and users.id = %(user_id)s::uuid
)
select
    set_config('pipeline.crm_user_id', %(user_id)s::text, true),
    set_config('pipeline.crm_system', (select this_user.system from this_user), true),
    set_config(
        'pipeline.crm_group',
        array(
            select users.id
            from this_user
            inner join crm.users
                on users.tenant_id = %(tenant)s
                and users.system = this_user.system
                and users.role = this_user.role
        )::text,
        true
    ),
    set_config(
        'pipeline.seen_by_group',
        array(
            select jsonb_array_elements_text(this_user.audiences -> 'group')
            from this_user
        )::text,
        true
    ),
    set_config(
        'pipeline.seen_by_everybody',
        array(
            select jsonb_array_elements_text(this_user.audiences -> 'everybody')
            from this_user
        )::text,
        true
    )
"""
