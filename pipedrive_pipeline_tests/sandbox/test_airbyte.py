"""A public reader that is not ours reads all of it right: Airbyte's CDK with a manifest.

Its packages and ours exclude each other, so that it is installed into an environment of its own
and run by its own command; nothing of ours runs there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipedrive_pipeline.sandbox import Sandbox, seeded, serve

CDK = "airbyte-cdk==7.39.1"  # on PyPI
ENTITIES = ("organizations", "persons")
TIME = "%Y-%m-%dT%H:%M:%SZ"
EDITED = range(200, 800)
Row = dict[str, Any]


@pytest.mark.long
@pytest.mark.timeout(900)  # most of it is the installation
def test_airbytes_cdk_reads_everything_and_then_what_changed(tmp_path: Path) -> None:
    source = _installed(tmp_path)
    with serve(seeded(1_200, 3_500), has_limits=False) as sandbox:
        whole = _read(source, tmp_path, sandbox, since="2000-01-01T00:00:00Z")
        everything = {entity: _truth(sandbox, entity) for entity in ENTITIES}
        second = sandbox.account.edit_many("persons", EDITED, name="Zugleich")
        changed = _read(source, tmp_path, sandbox, since=second)
        walks = [request.query for request in sandbox.requests.of("/api/v2/persons")]

    assert whole == everything
    assert [len(rows) for rows in whole.values()] == [1_200, 3_500]
    assert changed["organizations"] == {}
    assert sorted(changed["persons"]) == list(EDITED)
    assert {row["name"] for row in changed["persons"].values()} == {"Zugleich"}
    assert any("cursor=" in query for query in walks)


def _installed(place: Path) -> str:
    """The command of a fresh environment that runs a source from its manifest."""
    environment = place / "cdk"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install: list[str | Path] = [environment / "bin" / "pip", "install", "--quiet", CDK]
    subprocess.run(install, check=True, capture_output=True)
    return str(environment / "bin" / "source-declarative-manifest")


def _read(source: str, place: Path, sandbox: Sandbox, *, since: str) -> dict[str, dict[int, Row]]:
    """What the source emits, by entity and id; no row may come twice."""
    config, catalog = place / "config.json", place / "catalog.json"
    config.write_text(json.dumps({"__injected_declarative_manifest": _manifest(sandbox, since)}))
    catalog.write_text(json.dumps({"streams": [_configured(entity) for entity in ENTITIES]}))

    run = subprocess.run(
        [source, "read", "--config", config, "--catalog", catalog],
        capture_output=True,
        text=True,
        check=False,
    )

    messages = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, [
        message for message in messages if message["type"] in ("LOG", "TRACE")
    ][-3:]
    rows: dict[str, dict[int, Row]] = {entity: {} for entity in ENTITIES}
    for record in (message["record"] for message in messages if message["type"] == "RECORD"):
        assert record["data"]["id"] not in rows[record["stream"]]
        rows[record["stream"]][record["data"]["id"]] = record["data"]
    return rows


def _truth(sandbox: Sandbox, entity: str) -> dict[int, Row]:
    """What the source must emit; its command prints no key of a record that is null."""
    return {
        row["id"]: {key: value for key, value in row.items() if value is not None}
        for row in sandbox.truth(entity)
    }


def _manifest(sandbox: Sandbox, since: str) -> Row:
    """A source as one writes it in Airbyte's connector builder."""
    return {
        "version": "7.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": [ENTITIES[0]]},
        "streams": [_stream(sandbox, entity, since) for entity in ENTITIES],
        "spec": {
            "type": "Spec",
            "connection_specification": {"type": "object", "properties": {}},
        },
    }


def _stream(sandbox: Sandbox, entity: str, since: str) -> Row:
    return {
        "type": "DeclarativeStream",
        "name": entity,
        "primary_key": ["id"],
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {"type": "object", "additionalProperties": True, "properties": {}},
        },
        "incremental_sync": {
            "type": "DatetimeBasedCursor",
            "cursor_field": "update_time",
            "datetime_format": TIME,
            "cursor_datetime_formats": [TIME],
            "start_datetime": {
                "type": "MinMaxDatetime",
                "datetime": since,
                "datetime_format": TIME,
            },
            "start_time_option": _parameter("updated_since"),
        },
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {
                "type": "HttpRequester",
                "url_base": f"{sandbox.url}/api/v2/",
                "path": entity,
                "http_method": "GET",
                "request_headers": {"x-api-token": sandbox.api_token},
                "request_parameters": {"sort_by": "update_time", "limit": "500"},
            },
            "record_selector": {
                "type": "RecordSelector",
                "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
            },
            "paginator": {
                "type": "DefaultPaginator",
                "page_token_option": _parameter("cursor"),
                "pagination_strategy": {
                    "type": "CursorPagination",
                    "cursor_value": "{{ response.additional_data.next_cursor }}",
                    "stop_condition": "{{ not response.additional_data.next_cursor }}",
                },
            },
        },
    }


def _parameter(name: str) -> Row:
    return {"type": "RequestOption", "inject_into": "request_parameter", "field_name": name}


def _configured(entity: str) -> Row:
    return {
        "stream": {
            "name": entity,
            "json_schema": {},
            "supported_sync_modes": ["full_refresh", "incremental"],
        },
        "sync_mode": "incremental",
        "destination_sync_mode": "append",
    }
