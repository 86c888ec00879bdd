"""No secret in a log, a page, an address, a table in clear, a message or a traceback."""

from __future__ import annotations

import logging
import traceback

import pytest

from pipedrive_pipeline.errors import PipelineError
from pipedrive_pipeline.vault import lend
from pipedrive_pipeline_tests.connect.attacks import ATTACKS
from pipedrive_pipeline_tests.connect.browser import CONFIRM_PAGE, ROUTES, ConnectSite
from pipedrive_pipeline_tests.vault.oauth_server import CLIENT_SECRET
from pipedrive_pipeline_tests.vault.world import ACME, OPERATOR_KEY, PIPEDRIVE


def secrets_of(site: ConnectSite) -> set[str]:
    """Every secret that this test has made so far."""
    keys = {key.get_secret_value() for key in site.world.vault.settings.encryption_keys()}
    tokens = {
        token
        for grant in site.world.oauth.grants
        for token in (*grant.refresh_tokens, *grant.access_tokens)
    }
    return {CLIENT_SECRET, OPERATOR_KEY, *keys, *tokens}


def found(site: ConnectSite, text: str) -> list[str]:
    return [secret[:12] for secret in secrets_of(site) if secret in text]


def dump(site: ConnectSite) -> str:
    """Every row of every table of ours, as text."""
    tables = site.world.rows(
        "select format('%I.%I', table_schema, table_name) as name "
        "from information_schema.tables where table_schema in ('integration', 'crm')"
    )
    return "\n".join(
        str(row["line"])
        for table in tables
        for row in site.world.rows(f"select rows::text as line from {table['name']} as rows")
    )


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that any library logs, down to DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in ("uvicorn", "uvicorn.error", "httpcore.http11", "pipedrive_pipeline"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


@pytest.mark.slow
def test_a_whole_life_of_a_connection_shows_no_secret(
    site: ConnectSite, logged: pytest.LogCaptureFixture
) -> None:
    """Link, consent, confirm, test, refresh, trouble, disconnect; every sink looked through."""
    browser, operator = site.browser(), site.operator()
    answers = [browser.get(site.link())]
    answers.append(site.consented(browser))
    answers.append(browser.get(CONFIRM_PAGE))
    answers.append(browser.post(f"{ROUTES}/confirm", data=site.form(browser)))
    answers.append(operator.post(f"{ROUTES}/test"))
    site.world.expire()
    answers.append(operator.post(f"{ROUTES}/test"))
    site.world.expire()
    site.world.oauth.faults = ["500", "html"]
    answers += [operator.post(f"{ROUTES}/test"), operator.post(f"{ROUTES}/test")]
    answers.append(operator.get(f"{ROUTES}/status"))
    middle = dump(site)
    answers.append(operator.delete(f"{ROUTES}/disconnect"))

    text = "\n".join(f"{answer.text}\n{answer.headers}" for answer in answers)
    assert len(secrets_of(site)) > 6
    assert found(site, text) == []
    assert found(site, middle + dump(site)) == []
    ours = "\n".join(
        record.getMessage() for record in logged.records if record.name.startswith("pipedrive")
    )
    assert found(site, ours) == []
    assert found(site, logged.text) == []


def test_an_attack_leaves_no_secret_in_the_log(
    site: ConnectSite, logged: pytest.LogCaptureFixture
) -> None:
    """Nor what the attacker wrote: a log is read by people and by machines."""
    for name in ("notice_with_a_wrong_secret", "operator_with_a_wrong_key", "state_with_a_nul"):
        ATTACKS[name](site)

    server_side = [row for row in logged.records if not row.name.startswith(("httpcore", "httpx"))]
    text = "\n".join(record.getMessage() for record in server_side)
    assert found(site, text) == []
    assert "\x00" not in text


@pytest.mark.parametrize("fault", ["500", "html", "lost", "invalid_grant", "altered"])
def test_an_errors_traceback_shows_no_secret(site: ConnectSite, fault: str) -> None:
    """With its whole chain, as a run's event log keeps it."""
    refresh_token = site.world.connect_acme()
    site.world.expire()
    if fault == "invalid_grant":
        site.world.oauth.revoke(refresh_token)
    elif fault == "altered":
        site.world.execute("update integration.connections set refresh_token = access_token")
    else:
        site.world.oauth.faults = [fault]

    with pytest.raises(PipelineError) as refused:
        lend(
            ACME,
            PIPEDRIVE,
            warehouse=site.world.vault.warehouse,
            settings=site.world.vault.settings,
        )

    assert found(site, "".join(traceback.format_exception(refused.value))) == []
    assert found(site, repr(vars(refused.value))) == []


def test_objects_with_a_secret_do_not_show_it(site: ConnectSite) -> None:
    """A debugger, a failed assertion and a log line all call `repr`."""
    site.world.connect_acme()
    credential = lend(
        ACME, PIPEDRIVE, warehouse=site.world.vault.warehouse, settings=site.world.vault.settings
    )

    shown = f"{credential!r} {credential} {site.world.vault!r} {site.world.vault.settings}"

    assert found(site, shown) == []
