"""The list of what needs a person: complete, in words, and empty again when the cause is gone."""

from __future__ import annotations

import pytest

import pipedrive_pipeline.sync.runs.run  # noqa: F401 - so that all errors of runs are known
from pipedrive_pipeline.connect.auth.permissions import Role
from pipedrive_pipeline.connect.pages import texts
from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.scope import Scope
from pipedrive_pipeline.sync.runs import held_deletions
from pipedrive_pipeline.sync.writes.errors import OutcomeUnknown, TablesBehind, WriteError
from pipedrive_pipeline_tests.connect.browser import ConnectSite
from pipedrive_pipeline_tests.connect.pages.signing_in import signed_in, submit, words
from pipedrive_pipeline_tests.connect.pages.troubles import (
    read,
    revoked_tenant,
    troubled_tenant,
)
from pipedrive_pipeline_tests.vault.world import OPERATOR_KEY

OPEN = {
    "en": (
        "Pipedrive: A disk is full",
        "Pipedrive: 214 records are gone from Persons",
        "Pipedrive: the mapped field &lt;svg onload=alert(1)&gt;{{7*7}} was deleted",
        "Pipedrive: Notes cannot be read",
        "Pipedrive: a change of Deals met a newer record",
        "Pipedrive no longer tells us of changes",
        "Pipedrive: the app’s webhook at app.example.com is disabled",
        "Pipedrive: 38 values of Organizations do not fit their columns",
    ),
    "de": (
        "Pipedrive: Ein Datenträger ist voll",
        "Pipedrive: 214 Datensätze fehlen unter Personen",
        "Pipedrive: Das zugeordnete Feld &lt;svg onload=alert(1)&gt;{{7*7}} wurde gelöscht",
        "Pipedrive: Notizen lassen sich nicht lesen",
        "Pipedrive: Eine Änderung an Deals traf auf einen neueren Datensatz",
        "Pipedrive meldet Änderungen nicht mehr",
        "Pipedrive: Der Webhook der App bei app.example.com ist abgeschaltet",
        "Pipedrive: 38 Werte von Organisationen passen nicht in ihre Spalten",
    ),
}
MAPPED_ANEW = """
with former as (
    update integration.field_mappings set is_active = false where tenant_id = 'acme'
)
insert into integration.field_mappings (tenant_id, system, version, mapping, is_active, created_by)
values ('acme', 'pipedrive', 2, '{"organizations": {}}', false, 'Ada')
"""
NOTED = """
insert into integration.audit_log (who, tenant_id, action, subject)
values ('the pipeline', 'acme', %s, 'pipedrive')
"""


@pytest.mark.parametrize("language", OPEN)
def test_every_kind_of_problem_is_listed_with_what_to_do(site: ConnectSite, language: str) -> None:
    """A problem that is not in the list is one that nobody mends."""
    tenant = troubled_tenant(site)
    browser = signed_in(site, tenant.keys[Role.ADMIN], language)

    page = browser.get("/problems")

    text = words(page)
    assert [title for title in OPEN[language] if title not in text] == []
    assert page.text.count("<article") == len(OPEN[language])
    assert page.text.count({"en": "What to do:", "de": "Was zu tun ist:"}[language]) == 8
    assert "alert(1)>" not in page.text


def test_a_revoked_consent_names_the_company_and_leads_to_connecting(site: ConnectSite) -> None:
    tenant = revoked_tenant(site)

    page = signed_in(site, tenant.keys[Role.ADMIN]).get("/problems")
    of_a_reader = signed_in(site, tenant.keys[Role.USER]).get("/problems")

    assert "The consent was withdrawn or has lapsed." in words(page)
    assert "an account of <bdi>مؤسسة النخلة</bdi>" in page.text
    assert 'href="/integrations/pipedrive/connect"' in page.text
    assert 'href="/integrations/pipedrive/connect"' not in of_a_reader.text


def test_the_operator_sees_the_problems_of_all_and_whose_they_are(site: ConnectSite) -> None:
    troubled_tenant(site)
    revoked_tenant(site)
    browser = signed_in(site, OPERATOR_KEY)

    page = browser.get("/problems")
    stopping = browser.get("/problems?show=stops")
    answer = submit(browser, stopping, "/integrations/pipedrive/sync", tenant="acme")

    assert page.text.count("<article") == 9
    assert stopping.text.count("<article") == 2
    assert 'href="/integrations/pipedrive/connect?tenant=bravo"' in page.text
    assert answer.headers["location"] == "/integrations/pipedrive?tenant=acme"


def test_a_tenant_sees_its_own_problems_only(site: ConnectSite) -> None:
    troubled_tenant(site)
    other = revoked_tenant(site)

    page = signed_in(site, other.keys[Role.USER]).get("/problems")

    assert page.text.count("<article") == 1
    assert "Persons" not in page.text


def test_a_problem_is_over_when_its_cause_is_and_stays_visible_as_resolved(
    site: ConnectSite,
) -> None:
    """Somebody who looks a day later must see that it was mended, and how."""
    tenant = troubled_tenant(site)
    with site.world.vault.warehouse.as_app(tenant.tenant) as connection:
        (held,) = held_deletions.held(connection, Scope(tenant.tenant, "pipedrive"))
        held_deletions.decide(
            connection,
            Scope(tenant.tenant, "pipedrive"),
            "persons",
            "refused",
            found_at=held.found_at,
            who="Ada",
        )
    read(site, "acme", "notes")
    site.world.execute("update integration.alerts set healed_at = now()")
    site.world.execute("update integration.fields set removed_at = now() - interval '1 hour'")
    site.world.execute(MAPPED_ANEW)
    site.world.execute("delete from integration.rejected_values")
    site.world.execute("delete from integration.webhooks")
    site.world.execute("delete from integration.app_webhooks")
    for action in ("webhook.fail", "webhook.make"):
        site.world.execute(NOTED, action)
    site.world.execute("delete from integration.outbox")
    browser = signed_in(site, tenant.keys[Role.ADMIN])

    page = browser.get("/problems")

    text = words(page)
    assert "No problems" in text
    assert "Resolved in the last 14 days" in text
    assert "Pipedrive: A disk is full" in text
    assert "Pipedrive: Unusually many records are gone" in text
    assert "Pipedrive: the mapped field &lt;svg onload=alert(1)&gt;{{7*7}} was deleted" in text
    assert "Pipedrive: Notes cannot be read" in text
    assert "Pipedrive no longer tells us of changes" in text
    assert text.count("Ada") == 2


def test_a_kind_that_is_no_longer_read_is_no_problem(site: ConnectSite) -> None:
    tenant = troubled_tenant(site)
    site.world.execute("update integration.sync_settings set entities_off = array['notes']")

    page = signed_in(site, tenant.keys[Role.ADMIN]).get("/problems")

    assert "Notes" not in page.text


def test_every_failure_has_its_words_in_the_catalogue() -> None:
    """A code without words would be shown as a failure that nobody knows."""

    def family(error: type[PipelineError]) -> set[type[PipelineError]]:
        return {error}.union(*(family(sub) for sub in error.__subclasses__()))

    known = {key.split(".")[1] for key in texts.catalogue("en") if key.startswith("failure.")}
    # Only programs write, by the API.
    of_writes = {error.code for error in family(WriteError)} | {
        OutcomeUnknown.code,
        TablesBehind.code,
    }
    shown = {error.code for error in family(PipelineError)} - OF_THE_COMMAND_LINE - of_writes

    assert sorted(shown - known) == []


# A person at a terminal sees them, no page does.
OF_THE_COMMAND_LINE = frozenset(
    {
        *("usage", "home_unusable", "no_account", "start_failed", "server_silent", "port_taken"),
        *("port_needs_restart", "server_died", "up_is_running", "up_does_not_end"),
        *("earlier_release", "wrong_encoding", "transaction_pooler"),
        "role_too_weak",
        *("erasure_refused", "removal_refused", "nobody_to_erase", "idempotency_key_reused"),
        "export_refused",
    }
)
