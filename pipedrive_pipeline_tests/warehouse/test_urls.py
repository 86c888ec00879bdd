"""Every form of a URL that libpq takes leads each library to the same database."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine

from pipedrive_pipeline.errors import SettingsError
from pipedrive_pipeline.warehouse.urls import facts_of, url_of, with_search_path

FORMS = [
    "postgres://u:p@db.example/name",
    "postgresql://u:%20p%40%2F%25%20@db.example:5433/name?sslmode=verify-full&sslrootcert=/a/b.crt",
    "postgresql://u:p@one.example:1,two.example:2/name?target_session_attrs=read-write",
    "postgresql://u:p@%2Fvar%2Frun:5433/name",
    "postgresql://u:p@[::1]:5433/name",
    "postgresql:///?host=/var/run&port=5433&user=Some%20One&password=p&dbname=name",
    "postgresql://u:p@db.example/Some%20N%C3%A4me?connect_timeout=3",
    "postgresql:///?service=warehouse",
]


@pytest.mark.parametrize("url", FORMS)
def test_libpq_and_sqlalchemy_read_the_same_from_it(url: str) -> None:
    """Dagster read `postgres://`, several hosts and `%2F` wrongly, or ended in a traceback."""
    facts = facts_of(url)

    engine = create_engine(url_of(facts))

    assert facts_of(url_of(facts)) == facts
    _arguments, options = engine.dialect.create_connect_args(engine.url)
    assert {name: str(value) for name, value in options.items()} == facts


@pytest.mark.parametrize(
    ("place", "ports"), [("one,two:6", "5432,6"), ("one:6,two:6", "6,6"), ("one,two", "5432,5432")]
)
def test_each_of_several_hosts_has_its_port(place: str, ports: str) -> None:
    facts = facts_of(url_of(facts_of(f"postgresql://u:p@{place}/name")))

    assert (facts["host"], facts["port"]) == ("one,two", ports)


def test_a_search_path_joins_the_options_that_a_url_has() -> None:
    """Two `options` in one URL are a list for SQLAlchemy: a sync ended in an AttributeError."""
    url = with_search_path("postgresql://u@h/d?options=-c%20work_mem%3D8MB", "dagster")

    assert facts_of(url)["options"] == "-c work_mem=8MB -csearch_path=dagster"
    assert create_engine(url).url.query["options"] == "-c work_mem=8MB -csearch_path=dagster"


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret%@h/d", "postgresql://u:p/secret@h/d", "postgresql://h/d?a=b"]
)
def test_what_libpq_does_not_read_is_refused_by_the_settings_name(url: str) -> None:
    """It ended in an unexpected ProgrammingError, whose text quotes a part of the password."""
    with pytest.raises(SettingsError, match="DATABASE_URL: libpq") as refused:
        facts_of(url)

    assert "secret" not in str(refused.value)
