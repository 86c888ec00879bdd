"""Addresses of a database in the one form that libpq, SQLAlchemy and dlt read alike.

libpq takes more forms than the others: `postgres://`, several hosts, a socket as `%2Ftmp`, user and
password after the `?`. Sources: https://www.postgresql.org/docs/current/libpq-connect.html and
https://docs.sqlalchemy.org/en/20/dialects/postgresql.html (read 2026-12).
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pipedrive_pipeline.errors import SettingsError

DAGSTER_SETTING = "DAGSTER_DATABASE_URL"
DEFAULT_PORT = 5432
PORTS = re.compile(r"[\d,]*")


def facts_of(url: str, setting: str = "DATABASE_URL") -> dict[str, str]:
    """What a URL says, by libpq's names, such as `host` and `sslmode`.

    Args:
        url: as libpq takes it.
        setting: where it is from, for the message.

    Raises:
        SettingsError: libpq does not read it, or takes a part of the password for a port. Its
            reason may quote the password, so we give none.
    """
    try:
        facts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError:
        facts = {"port": "unreadable"}
    if not PORTS.fullmatch(facts.get("port", "")):
        raise SettingsError(
            f"{setting}: libpq does not read this URL. In a user or password, write each of "
            "% @ / : ? # as %25 %40 %2F %3A %3F %23; after the `?` only libpq's own names are "
            "allowed, such as sslmode."
        )
    return facts


def url_of(facts: dict[str, str]) -> str:
    """The URL with these facts: user, password, host, port and name in their places.

    SQLAlchemy reads no %XX in a database's name, and has no place for a socket's folder or several
    hosts: these follow the `?`, where they count before what is in their places.
    """
    more = dict(facts)
    user, password = (quote(more.pop(key, ""), safe="") for key in ("user", "password"))
    host, port, name = (more.get(key, "") for key in ("host", "port", "dbname"))
    if host.startswith("/") or "," in host:
        place = "localhost"
        if port and "," in host:
            more["port"] = _port_of_each(host.split(","), port)
    else:
        place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        more = {key: value for key, value in more.items() if key not in {"host", "port"}}
    if name == quote(name, safe=""):
        more.pop("dbname", None)
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    query = f"?{urlencode(more, quote_via=quote)}" if more else ""
    return f"postgresql://{login}{place}/{quote(name, safe='')}{query}"


def with_search_path(url: str, schema: str) -> str:
    """The URL with this schema as the search path, and the other options that it has."""
    facts = facts_of(url)
    options = f"{facts.get('options', '')} -csearch_path={schema}".strip()
    return url_of(facts | {"options": options})


def _port_of_each(hosts: list[str], ports: str) -> str:
    """The ports, of each host one: libpq takes one for all of them, or none for its default."""
    given = ports.split(",")
    each = given if len(given) == len(hosts) else given * len(hosts)
    return ",".join(port or str(DEFAULT_PORT) for port in each)
