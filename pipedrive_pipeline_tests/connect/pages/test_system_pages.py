"""A system's pages: what they say of a run, of completeness and of decisions, without scripts."""

from __future__ import annotations

import re
from html import unescape

import httpx
import pytest

from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.signing_in import signed_in, submit, words
from pipedrive_pipeline_tests.connect.tenants import FilledTenant, filled_tenant
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY

PAGE = "/integrations/pipedrive"
HELD = """
insert into integration.held_deletions (tenant_id, system, entity, known, gone, sample)
values ('acme', 'pipedrive', 'organizations', 733, 214, array['1', '2'])
"""
RUNNING = """
insert into integration.runs (tenant_id, system, sync_type, trigger, status, progress)
values ('acme', 'pipedrive', 'full', 'manual', 'running', %s::jsonb)
"""
PROGRESS = """{
    "phase": "reading", "stage": "persons", "pages": 3, "rows": 600, "seconds": 60, "tokens": 80,
    "entities": {"organizations": {"rows": 150, "is_complete": true},
                 "persons": {"rows": 600, "is_complete": false}},
    "expected": {"organizations": 200, "persons": 800}
}"""
REFUSED = """
insert into integration.rejected_values
    (tenant_id, system, entity, record_id, field, value, reason)
select 'acme', 'pipedrive', 'organizations', number::text, 'aaa', %s, 'is no number'
from generate_series(1, 25) as number
"""
CHANGE = """
insert into integration.field_changes
    (tenant_id, system, entity, field_key, change, before, after, seen_at)
values ('acme', 'pipedrive', 'organizations', 'aaa', 'renamed', 'UID', 'USt-IdNr.', %s)
"""
MANY_RUNS = """
insert into integration.runs
    (tenant_id, system, sync_type, trigger, status, started_at, completed_at, errors)
select 'acme', 'pipedrive', 'incremental', 'schedule', 'failed', now() - number * interval '1 day',
    now() - number * interval '1 day', '[{"code": "source_unavailable", "message": "acme: no"}]'
from generate_series(1, 30) as number
"""


@pytest.fixture
def tenant(site: ConnectSite) -> FilledTenant:
    filled = filled_tenant(site, "acme", 1)
    site.world.execute("delete from integration.sync_requests")
    return filled


@pytest.fixture
def admin(site: ConnectSite, tenant: FilledTenant) -> httpx.Client:
    return signed_in(site, tenant.keys[Role.ADMIN])


def requests_of(site: ConnectSite) -> list[tuple[str, str]]:
    rows = site.world.rows("select sync_type, state from integration.sync_requests order by 1")
    return [(row["sync_type"], row["state"]) for row in rows]


def test_held_deletions_are_decided_after_looking_at_them(
    site: ConnectSite, tenant: FilledTenant, admin: httpx.Client
) -> None:
    """From the page of the system, in two clicks; the number is on the button."""
    site.world.execute(HELD)
    system = admin.get(PAGE)
    examples = admin.get(f"{PAGE}/deletions/organizations")

    decided = submit(admin, examples, f"{PAGE}/deletions/organizations", decision="confirmed")

    assert "214 of 733 are held back" in words(system)
    assert f'href="{PAGE}/deletions/organizations"' in system.text
    assert tenant.word in words(examples)
    assert "Mark 214 records as deleted" in words(examples)
    assert (decided.status_code, decided.headers["location"]) == (303, PAGE)
    assert requests_of(site) == [("sweep", "queued")]
    assert "Confirmed" in words(admin.get(f"{PAGE}/deletions/organizations"))


def test_a_running_read_is_shown_by_phase_share_and_time_left(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """800 of 1,000 in a minute: 15 seconds are left. Without scripts the page reloads itself."""
    site.world.execute(RUNNING, PROGRESS)

    page = admin.get(PAGE)

    assert "80% read, about 15 s left. 80 tokens used." in words(page)
    assert "Reading Persons" in words(page)
    assert '<noscript><meta http-equiv="refresh"' in page.text
    assert "hx-get" in page.text
    assert '<svg class="bar tall" role="img" aria-label="80% read">' in page.text


def test_the_part_that_loads_again_speaks_once_a_step_and_ends_with_a_whole_page(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """A screen reader that is told each two seconds would never be silent."""
    site.world.execute(RUNNING, PROGRESS)

    first = admin.get(f"{PAGE}/progress")
    again = admin.get(f"{PAGE}/progress", params={"spoken": "reading-persons-80"})
    site.world.execute("update integration.runs set status = 'success', completed_at = now()")
    ended = admin.get(f"{PAGE}/progress")

    assert 'role="status"' in first.text
    assert 'role="status"' not in again.text
    assert "<html" not in again.text
    assert ended.headers["hx-refresh"] == "true"


def test_the_whole_page_comes_again_when_its_title_is_no_longer_true(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """A page said Connected for as long as something waited, while the budget was spent."""
    site.world.execute(RUNNING, PROGRESS)
    address = re.search(r'hx-get="([^"]*progress[^"]*)"', admin.get(PAGE).text)
    assert address
    before = admin.get(unescape(address.group(1)))

    site.world.execute(
        "update integration.connections set state = 'needs_reauth', state_reason = 'invalid_grant'"
    )
    after = admin.get(unescape(address.group(1)))

    assert "hx-refresh" not in before.headers
    assert after.headers["hx-refresh"] == "true"


def test_a_run_is_cancelled_from_the_page(site: ConnectSite, admin: httpx.Client) -> None:
    site.world.execute(RUNNING, PROGRESS)
    (run,) = site.world.rows("select id from integration.runs where status = 'running'")

    answer = submit(admin, admin.get(PAGE), f"{PAGE}/runs/{run['id']}/cancel")

    assert answer.status_code == 303
    (asked,) = site.world.rows(
        "select cancel_asked_by from integration.runs where status = 'running'"
    )
    assert asked["cancel_asked_by"].startswith("key word_of_acme")


@pytest.mark.parametrize("kind", ["incremental", "full", "sweep", "remap"])
def test_each_button_asks_for_its_kind_of_run(
    kind: str, site: ConnectSite, admin: httpx.Client
) -> None:
    page = admin.get(f"{PAGE}/full") if kind == "full" else admin.get(PAGE)
    assert f'name="kind" value="{kind}"' in page.text

    submit(admin, page, f"{PAGE}/sync", kind=kind)

    assert requests_of(site) == [(kind, "queued")]


def test_a_reader_sees_everything_and_may_change_nothing(
    site: ConnectSite, tenant: FilledTenant
) -> None:
    site.world.execute(HELD)
    reader = signed_in(site, tenant.keys[Role.USER])

    pages = [reader.get(PAGE), reader.get(f"{PAGE}/deletions/organizations")]
    refused = [
        submit(reader, pages[0], f"{PAGE}/{path}", **fields)
        for path, fields in {
            "sync": {"kind": "remap"},
            "test": {},
            "disconnect": {},
            "deletions/organizations": {"decision": "refused", "found_at": "2026-01-01T00:00:00Z"},
        }.items()
    ]

    assert [page.status_code for page in pages] == [200, 200]
    assert [f'action="{PAGE}' in page.text for page in pages] == [False, False]
    assert [answer.status_code for answer in refused] == [403] * 4
    assert requests_of(site) == []


def test_disconnecting_says_what_stays_and_then_ends_the_connection(
    site: ConnectSite, admin: httpx.Client
) -> None:
    asked = admin.get(f"{PAGE}/disconnect")

    answer = submit(admin, asked, f"{PAGE}/disconnect")

    assert "These stay: one row, the mapping, the history and your settings." in words(asked)
    assert answer.headers["location"] == PAGE
    assert site.world.row()["state"] == "disconnected"
    assert "Pipedrive is not connected" in words(admin.get(PAGE))


def test_the_history_is_filtered_and_leafed_through(site: ConnectSite, admin: httpx.Client) -> None:
    """The filter and the page are in the address: a bookmark shows the same."""
    site.world.execute(MANY_RUNS)

    failed = admin.get(f"{PAGE}/history", params={"status": "failed"})
    (older,) = [
        part.split('"')[0].replace("&amp;", "&")
        for part in failed.text.split('href="')
        if "after=" in part.split('"')[0]
    ]
    rest = admin.get(older)
    none = admin.get(f"{PAGE}/history", params={"kind": "verify"})
    odd = admin.get(f"{PAGE}/history", params={"from": "never", "kind": "<b>"})

    assert (
        failed.text.count("Pipedrive did not answer") + failed.text.count("The CRM did not answer")
        == 20
    )
    assert "status=failed" in older
    assert rest.text.count("The CRM did not answer") == 10
    assert "no run matches the filter" in words(none)
    assert odd.status_code == 200


def test_a_changed_field_is_shown_until_the_next_visit(
    site: ConnectSite, admin: httpx.Client
) -> None:
    """Coming back from a run within the hour is the same visit."""
    site.world.execute("update integration.fields set first_seen_at = now() - interval '90 days'")
    site.world.execute(CHANGE, "2026-11-01")  # before the week that a first visit looks back
    old = admin.get(f"{PAGE}/history")
    site.world.execute("update integration.field_changes set seen_at = now() - interval '1 hour'")

    shown = [admin.get(f"{PAGE}/history") for _ in range(2)]

    assert "USt-IdNr." not in old.text
    assert all("Renamed" in words(page) and "UID" in page.text for page in shown)


def test_a_run_names_its_counts_its_errors_and_the_refused_values(
    site: ConnectSite, tenant: FilledTenant, admin: httpx.Client
) -> None:
    """Names and values from outside are inert, also in the file."""
    site.world.execute(REFUSED, "<svg onload=alert(1)>{{7*7}}")
    page = admin.get(f"{PAGE}/history/{tenant.ids['run_id']}")

    rest = admin.get(f"{PAGE}/history/{tenant.ids['run_id']}", params={"refused": "all"})
    file = admin.get(f"{PAGE}/rejected-values.csv")

    assert "25 refused values" in words(page)
    assert page.text.count("alert(1)&gt;{{7*7}}") == 20
    assert rest.text.count("alert(1)&gt;{{7*7}}") == 25
    assert "<svg onload" not in page.text
    assert "Organizations" in words(page)
    assert len(file.text.splitlines()) == 26
    assert admin.get(f"{PAGE}/history/{UNKNOWN}").status_code == 404


def test_only_the_operator_is_led_to_dagster(site: ConnectSite, tenant: FilledTenant) -> None:
    """Its page is on the operator's network, and shows every tenant."""
    path = f"{PAGE}/history/{tenant.ids['run_id']}"
    operator = signed_in(site, OPERATOR_KEY)

    of_operator = operator.get(path, params={"tenant": "acme"})
    of_admin = signed_in(site, tenant.keys[Role.ADMIN]).get(path)

    assert "Open in Dagster" in of_operator.text
    assert f'href="{PAGE}/history?tenant=acme"' in of_operator.text
    assert "Open in Dagster" not in of_admin.text


def test_thirty_days_are_drawn_without_a_style(site: ConnectSite, admin: httpx.Client) -> None:
    """The policy of the pages forbids style attributes; a failed day is a cross and a word."""
    site.world.execute(MANY_RUNS)

    page = admin.get(PAGE)

    assert page.text.count("<figure") == 3
    assert page.text.count('class="lb"') >= 3 * 28
    assert " style=" not in page.text
    assert "The same as a table" in page.text


UNKNOWN = "00000000-0000-4000-8000-000000000000"
