"""How quickly the look-up answers over a million contacts.

Makes a warehouse of its own with 100 tenants, 10,000 contacts each with a number and an address,
customers, deals and activities, starts the Connect app in one process, and sends 100 look-ups a
second from another: by phone number, by address, by domain and by a number that nobody has.

    uv run --frozen --group dev python bench/lookup.py [--rate 100] [--seconds 20]
"""

from __future__ import annotations

import argparse
import json

import psutil
from api import app_of, database, measured

from pipedrive_pipeline.connect.auth import keys
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.marts.contact_points.values import read_with
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.migrations import migrate

COUNTRY = "DE"
GOAL_P95_MS = 20.0
TENANTS_FILLED = "insert into integration.tenants (slug, country) values (%(tenant)s, 'DE')"
# A tenant's rows: five contacts to a customer, one open deal in five contacts, two activities each.
FILL = """
insert into crm.users (tenant_id, system, remote_id, name, email)
select %(tenant)s, 'bench', n::text, 'user ' || n, 'user' || n || '@seller.example'
from generate_series(1, 10) as n;
insert into crm.customers (tenant_id, system, remote_id, name, website, changed_at, owner_id)
select %(tenant)s, 'bench', n::text, 'customer ' || n, 'firma' || n || '.example', now(), users.id
from generate_series(1, %(contacts)s / 5) as n
inner join crm.users on users.tenant_id = %(tenant)s and users.remote_id = (1 + n %% 10)::text;
insert into crm.contacts (
    tenant_id, system, remote_id, name, email, phone, changed_at, customer_id
)
select %(tenant)s, 'bench', n::text, 'contact ' || n, 'p' || n || '@firma' || n / 5 || '.example',
    '030 ' || 1000000 + n, now(), customers.id
from generate_series(1, %(contacts)s) as n
left join crm.customers
    on customers.tenant_id = %(tenant)s and customers.remote_id = (n / 5)::text;
insert into crm.deals (tenant_id, system, remote_id, name, status, amount, contact_id, customer_id)
select %(tenant)s, 'bench', remote_id, 'deal', 'open', 100, id, customer_id
from crm.contacts
where tenant_id = %(tenant)s and remote_id::integer %% 5 = 0;
insert into crm.activities (
    tenant_id, system, remote_id, kind, subject, done, starts_at, contact_id, customer_id
)
select %(tenant)s, 'bench', remote_id || '-' || n, 'call', 'call', true, now(), id, customer_id
from crm.contacts
cross join generate_series(1, 2) as n
where tenant_id = %(tenant)s;
insert into crm.contact_points (tenant_id, contact_id, kind, entered, value, domain, read_with)
select %(tenant)s, id, 'phone', phone, '+4930' || substr(phone, 5), null, %(phone_read)s
from crm.contacts
where tenant_id = %(tenant)s
union all
select %(tenant)s, id, 'email', email, email, split_part(email, '@', 2), %(email_read)s
from crm.contacts
where tenant_id = %(tenant)s;
insert into crm.contact_points (tenant_id, customer_id, kind, entered, value, domain, read_with)
select %(tenant)s, id, 'website', website, website, website, %(email_read)s
from crm.customers
where tenant_id = %(tenant)s
"""


def filled(warehouse: Warehouse, tenants: int, contacts: int) -> list[str]:
    """The keys of as many tenants, each with as many contacts."""
    migrate(warehouse)
    texts = []
    for n in range(1, tenants + 1):
        tenant = Tenant(f"t{n}")
        values = {
            "tenant": tenant.slug,
            "contacts": contacts,
            "phone_read": read_with("phone", COUNTRY),
            "email_read": read_with("email", COUNTRY),
        }
        with warehouse.transaction(tenant) as connection:
            for statement in (TENANTS_FILLED, *FILL.split(";\n")):
                connection.execute(statement.encode(), values)
            texts.append(keys.add(connection, tenant, Role.USER, "bench", who="bench").text)
    with warehouse.connect(autocommit=True) as connection:
        connection.execute("vacuum analyze")
    return texts


def paths(contacts: int) -> list[str]:
    """Look-ups of four kinds, in turn, each of another record."""
    asked = []
    for n in range(1, 1 + contacts // 7):
        record = n * 7 % contacts + 1
        asked += [
            f"/api/crm/lookup?phone=030%20{1_000_000 + record}",
            f"/api/crm/lookup?email=P{record}@firma{record // 5}.example",
            f"/api/crm/lookup?domain=firma{record // 5 + 1}.example",
            f"/api/crm/lookup?phone=%2B49308{record:06}",
        ]
    return asked


def main() -> None:
    """Prints the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=int, default=100)
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--tenants", type=int, default=100)
    options.add_argument("--contacts", type=int, default=10_000, help="of each tenant")
    given = options.parse_args()
    with database() as (running, home):
        of_tenants = filled(Warehouse(running.url), given.tenants, given.contacts)
        with app_of(running, home, CONNECT_WORKERS="1") as (url, app):
            leader = int((running.data_dir / "postmaster.pid").read_text().split()[0])
            facts = measured(
                url,
                psutil.Process(app.pid),
                psutil.Process(leader),
                of_tenants,
                rate=given.rate,
                seconds=given.seconds,
                paths=paths(given.contacts),
            )
            contacts = given.tenants * given.contacts
            is_met = facts["p95_ms"] <= GOAL_P95_MS
            print(json.dumps({"contacts": contacts, **facts, "is_goal_met": is_met}))


if __name__ == "__main__":
    main()
