"""How long the fourteen questions of `docs/analysts.md` take.

`uv run python bench/analyst_queries.py` writes the marts of one tenant with SQL into an embedded
Postgres of its own (100,000 deals over three years with their visits of stages, three activities
and two lines each), publishes the views, and runs each question of the page as an analyst, in the
analyst's role. The fastest of several rounds counts. The seconds of the processor are those of
one process, without parallel workers; they compare between machines with other work.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipedrive_pipeline.marts import publish_views
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.tenants import Tenant
from pipedrive_pipeline.warehouse.database import Warehouse
from pipedrive_pipeline.warehouse.embedded import ensure_running
from pipedrive_pipeline.warehouse.migrations import migrate

TENANT = Tenant("bench")
GOAL_MILLISECONDS = 200
ROUNDS = 5
QUESTION = re.compile(r"^### ([^\n]+\?)\n.*?```sql\n(.*?)```", re.DOTALL | re.MULTILINE)
# Each statement: the mart, its columns, and the select that gives them over the number n.
KEYS = "id, tenant_id, system, remote_id"
ROWS = (
    ("users", "name, time_zone", 20, "'User ' || n, 'Europe/Berlin'"),
    (
        "customers",
        "name, owner_id, owner_name, industry, remote_created_at",
        "{deals} / 5",
        "'Customer ' || n, {user}, 'User ' || 1 + n % 20, 'Industry ' || n % 12, now()",
    ),
    (
        "contacts",
        "name, customer_id, owner_id, remote_created_at",
        "{deals} * 3 / 5",
        "'Contact ' || n, {customer}, {user}, now()",
    ),
    ("pipelines", "name, sort", 3, "'Pipeline ' || n, n"),
    (
        "stages",
        "name, sort, pipeline_id, probability, rotten_after_days",
        18,
        """'Stage ' || n, (n - 1) % 6, md5('pipelines' || 1 + (n - 1) / 6)::uuid, 10 + 15 * (n % 6),
        case when n % 2 = 0 then 30 end""",
    ),
    ("products", "name", 200, "'Product ' || n"),
    (
        "leads",
        "name, source, remote_created_at, deleted_at, deletion_reason",
        "{deals} / 5",
        """'Lead ' || n, 'Source ' || n % 9, now() - n % 1000 * interval '1 day',
        case when n % 3 = 0 then now() end, case when n % 3 = 0 then 'converted' end""",
    ),
)
DEALS = """
create temporary table made as
select
    n,
    md5('deals' || n)::uuid as id,
    made_at,
    n % 3 as pipeline,
    1 + abs(hashint4(n)) % 6 as depth,
    (array['open', 'won', 'won', 'lost', 'lost'])[1 + abs(hashint4(n + 7)) % 5] as status,
    least(interval '20 days', (now() - made_at) / 8) as step
from (
    select n, now() - interval '3 years' * (n::numeric / {deals})::float as made_at
    from generate_series(1, {deals}) as n
) as dated;
create index on made (n);
insert into crm.deals (
    id, tenant_id, system, remote_id, name, status, amount, currency, customer_id, contact_id,
    owner_id, pipeline_id, stage_id, lead_id, remote_created_at, stage_changed_at, won_at, lost_at,
    closed_at, lost_reason, expected_close_date
)
select
    made.id, 'bench', 'pipedrive', made.n::text, 'Deal ' || made.n, made.status,
    100 + made.n % 9000, (array['EUR', 'EUR', 'USD'])[1 + made.n % 3],
    md5('customers' || 1 + made.n % ({deals} / 5))::uuid,
    md5('contacts' || 1 + made.n % ({deals} * 3 / 5))::uuid,
    md5('users' || 1 + made.n % 20)::uuid,
    md5('pipelines' || 1 + made.pipeline)::uuid,
    md5('stages' || 1 + made.pipeline * 6 + (made.depth - 1))::uuid,
    case when made.n % 15 = 0 then md5('leads' || made.n / 5)::uuid end,
    made.made_at,
    made.made_at + made.step * (made.depth - 1),
    case when made.status = 'won' then made.made_at + made.step * made.depth end,
    case when made.status = 'lost' then made.made_at + made.step * made.depth end,
    case when made.status <> 'open' then made.made_at + made.step * made.depth end,
    case when made.status = 'lost' then 'Reason ' || made.n % 7 end,
    (made.made_at + interval '90 days')::date
from made;
insert into crm.deal_stage_history (
    tenant_id, system, remote_id, deal_id, stage_id, pipeline_id, entered_at, left_at, statuses,
    last_status, is_last_in_stage, open_seconds, stage_open_seconds, stages_visited, won_at,
    lost_at, entered_at_is_exact, origin
)
select
    'bench', 'pipedrive', made.n || '/' || visit, made.id,
    md5('stages' || 1 + made.pipeline * 6 + (visit - 1))::uuid,
    md5('pipelines' || 1 + made.pipeline)::uuid,
    made.made_at + made.step * (visit - 1),
    case when visit < made.depth then made.made_at + made.step * visit end,
    jsonb_build_array(
        jsonb_build_object('status', 'open', 'at', made.made_at + made.step * (visit - 1))
    ) || case
        when visit = made.depth and made.status <> 'open'
            then jsonb_build_array(
                jsonb_build_object('status', made.status, 'at', made.made_at + made.step * visit)
            )
        else '[]'
    end,
    case when visit = made.depth then made.status else 'open' end,
    true,
    case
        when visit < made.depth or made.status <> 'open' then extract(epoch from made.step)::bigint
    end,
    case
        when visit < made.depth or made.status <> 'open' then extract(epoch from made.step)::bigint
    end,
    case
        when visit = made.depth
            then array(
                select (made.pipeline * 6 + reached)::text
                from generate_series(1, made.depth) as reached
                order by 1
            )
        else '{{}}'
    end,
    case when visit = made.depth and made.status = 'won' then made.made_at + made.step * visit end,
    case when visit = made.depth and made.status = 'lost' then made.made_at + made.step * visit end,
    true, 'diff'
from made
cross join lateral generate_series(1, made.depth) as visit;
insert into crm.activities (
    tenant_id, system, remote_id, kind, done, starts_at, due_date, done_at, deal_id, customer_id,
    contact_id, owner_id, subject
)
select
    'bench', 'pipedrive', n::text, (array['call', 'meeting', 'task', 'email'])[1 + n % 4],
    due_at < now(), case when n % 2 = 0 then due_at end, due_at::date,
    case when due_at < now() then due_at end,
    md5('deals' || 1 + n % {deals})::uuid,
    md5('customers' || 1 + (1 + n % {deals}) % ({deals} / 5))::uuid,
    md5('contacts' || 1 + (1 + n % {deals}) % ({deals} * 3 / 5))::uuid,
    md5('users' || 1 + n % 20)::uuid, 'Activity ' || n
from (
    select n, now() + interval '30 days' - interval '3 years' * (n::numeric / ({deals} * 3))::float
        as due_at
    from generate_series(1, {deals} * 3) as n
) as dated;
insert into crm.notes (tenant_id, system, remote_id, body, deal_id, customer_id, remote_created_at)
select
    'bench', 'pipedrive', n::text, 'Note ' || n, md5('deals' || n)::uuid,
    md5('customers' || 1 + n % ({deals} / 5))::uuid, now() - n % 1000 * interval '1 day'
from generate_series(1, {deals} / 2) as n;
insert into crm.deal_products (
    tenant_id, system, remote_id, deal_id, product_id, name, quantity, unit_price, total, currency,
    is_enabled
)
select
    'bench', 'pipedrive', n::text, md5('deals' || 1 + n % {deals})::uuid,
    md5('products' || 1 + n % 200)::uuid, 'Product', 1 + n % 4, 10, 10 * (1 + n % 4),
    (array['EUR', 'EUR', 'USD'])[1 + n % 3], true
from generate_series(1, {deals} * 2) as n;
"""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deals", type=int, default=100_000)
    deals = parser.parse_args().deals
    home = Path(tempfile.mkdtemp(prefix="pipeline-bench-"))
    home.chmod(0o755)  # root's server runs as an account that must reach it
    server = ensure_running(home)
    try:
        warehouse = Warehouse(server.url)
        migrate(warehouse)
        _fill(warehouse, deals)
        publish_views(warehouse, TENANT)
        facts = _measured(warehouse)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps({"deals": deals, **facts}, indent=2))


def _fill(warehouse: Warehouse, deals: int) -> None:
    """Rows as a sync leaves them; ids follow from the number of the row."""
    keys = {name: f"md5('{name}s' || 1 + n % {{}})::uuid" for name in ("user", "customer")}
    with warehouse.transaction() as connection:
        connection.execute(
            "insert into integration.tenants (slug, time_zone) values ('bench', 'Europe/Berlin')"
        )
        for mart, columns, count, values in ROWS:
            shown = values.format(
                user=keys["user"].format(20), customer=keys["customer"].format(deals // 5)
            )
            connection.execute(
                f"insert into crm.{mart} ({KEYS}, {columns})"
                f" select md5('{mart}' || n)::uuid, 'bench', 'pipedrive', n::text, {shown}"
                f" from generate_series(1, {str(count).format(deals=deals)}) as n".encode()
            )
        for statement in DEALS.format(deals=deals).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
    with warehouse.connect(autocommit=True) as connection:
        connection.execute("vacuum analyze")


def _measured(warehouse: Warehouse) -> dict[str, Any]:
    """Returns the milliseconds of each question: elapsed, and of the processor in one process."""
    page = (PROJECT_ROOT / "docs" / "analysts.md").read_text(encoding="utf-8")
    elapsed, processor = {}, {}
    with warehouse.transaction() as connection:
        ((role, pid),) = connection.execute(
            "select integration.role_name('analyst_bench'), pg_backend_pid()"
        ).fetchall()
        connection.execute(f"set local role {role}".encode())
        connection.execute("set local search_path to analytics_bench")
        for question, query in QUESTION.findall(page):
            elapsed[question] = _fastest(connection, query, time.perf_counter)
            connection.execute("set local max_parallel_workers_per_gather = 0")
            processor[question] = _fastest(connection, query, lambda: _processor_seconds(pid))
            connection.execute("set local max_parallel_workers_per_gather to default")
    return {
        "elapsed_milliseconds": elapsed,
        "processor_milliseconds": processor,
        "above_goal": [name for name, taken in elapsed.items() if taken > GOAL_MILLISECONDS],
    }


def _fastest(connection: Any, query: str, clock: Callable[[], float]) -> int:
    """Returns the milliseconds of the fastest of several rounds, by this clock."""
    times = []
    for _ in range(ROUNDS):
        began = clock()
        connection.execute(query.encode()).fetchall()
        times.append(clock() - began)
    return round(min(times) * 1_000)


def _processor_seconds(pid: int) -> float:
    """Returns what a process of this machine has used of its processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
