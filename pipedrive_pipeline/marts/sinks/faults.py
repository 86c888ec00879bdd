"""What Postgres refused of a sink: names of objects only, since its messages may quote a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg import errors

from pipedrive_pipeline.errors import PersonMustAct
from pipedrive_pipeline.marts.sinks.form import Sink

FAULTS_SHOWN: Final = 5


class SinkFailed(PersonMustAct):
    """A sink could not write all rows; marts and other sinks are as they should be."""

    code = "sink_failed"
    who_acts = "the owner of the app's table"


def fault_of_rows(sink: Sink, faults: list[dict[str, str]]) -> dict[str, str]:
    """Returns the fault of rows that were refused, with the ids of the first ones."""
    fault = {name: value for name, value in faults[0].items() if name != "remote_id"}
    ids = ", ".join(str(each.get("remote_id")) for each in faults[:FAULTS_SHOWN])
    more = ", …" if len(faults) > FAULTS_SHOWN else ""
    where = _place(sink, fault)
    return fault | {
        "code": SinkFailed.code,
        "message": f"the sink {sink.name} could not write rows of {sink.mart} ({ids}{more}) into "
        f"{where}. Repair the app's table or the values; the next run writes them.",
    }


def fault_of(sink: Sink, error: psycopg.Error) -> dict[str, str]:
    """Returns what Postgres refused: names of objects only, since its message may quote a value."""
    facts = {
        "sqlstate": error.sqlstate,
        "table": ".".join(part for part in (error.diag.schema_name, error.diag.table_name) if part),
        "column": error.diag.column_name,
        "constraint": error.diag.constraint_name,
    }
    fault = {"table": sink.table_name} | {name: value for name, value in facts.items() if value}
    return fault | {
        "code": SinkFailed.code,
        "message": f"the sink {sink.name} could not write into {_place(sink, fault)}. Marts and "
        "other sinks are not concerned; repair it, and the next run goes on from there.",
    }


def _place(sink: Sink, fault: Mapping[str, str]) -> str:
    """Returns table, column and constraint, with the name of the error."""
    state = fault.get("sqlstate")
    try:
        name = errors.lookup(state).__name__ if state else "error"
    except KeyError:
        name = "error"
    facts = [f"{kind} {fault[kind]}" for kind in ("column", "constraint") if fault.get(kind)]
    facts.append(f"{name}, SQLSTATE {state}")
    return f"{fault.get('table') or sink.table_name} ({', '.join(facts)})"
