"""Rules by which rows of an app and of a mart are recognized as the same.

A rule compares one normalized text of both sides. A value that is empty after that matches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import sql

from pipedrive_pipeline.marts.declared import Mart
from pipedrive_pipeline.marts.sinks.form import MatchRule, Sink

LINK: Final = "link"
# Mailboxes that are nobody's own: their domain says nothing about a company.
SHARED_DOMAINS: Final = (
    "gmail.com",
    "googlemail.com",
    "outlook.com",
    "hotmail.com",
    "live.com",
    "yahoo.com",
    "icloud.com",
    "me.com",
    "aol.com",
    "gmx.de",
    "gmx.net",
    "gmx.at",
    "gmx.ch",
    "web.de",
    "t-online.de",
    "freenet.de",
    "posteo.de",
    "mailbox.org",
    "proton.me",
    "protonmail.com",
)


@dataclass(frozen=True)
class SinkRule:
    """One rule.

    Attributes:
        name: as people write it.
        columns: of the mart; one that a mart lacks is left out, but the first.
        is_identity: two different values say that two rows are not the same.
    """

    name: str
    columns: tuple[str, ...]
    is_identity: bool = False


RULES: Final = (
    SinkRule("customer_number", ("customer_number",), is_identity=True),
    SinkRule("vat_id", ("vat_id",), is_identity=True),
    SinkRule("email", ("email",)),
    SinkRule("domain", ("website", "email")),
    SinkRule("name_and_town", ("name", "city")),
    SinkRule("name", ("name",)),
    SinkRule("phone", ("phone",)),
)


def rules_of(mart: Mart) -> dict[str, SinkRule]:
    """Returns the rules that apply to a mart, by name."""
    names = {column.name for column in mart.columns}
    return {
        rule.name: rule
        for rule in RULES
        if names.issuperset(rule.columns if rule.name == "name_and_town" else rule.columns[-1:])
    }


def rule_columns(sink: Sink, rule: MatchRule) -> tuple[str, ...]:
    """Returns the app's columns that a rule compares; empty if they are not known."""
    if rule.columns:
        return rule.columns
    filled_by = {value.source: name for name, value in sink.columns.items() if value.source}
    known = next(each for each in RULES if each.name == rule.rule)
    columns = tuple(filled_by[source] for source in known.columns if source in filled_by)
    is_whole = known.name != "name_and_town" or len(columns) == len(known.columns)
    return columns if is_whole else ()


def normalized(rule: str, values: list[sql.Composable]) -> sql.Composable:
    """Returns the text that a rule compares, of these values; null where there is none."""
    if rule in {"customer_number", "vat_id"}:
        text = sql.SQL("upper(regexp_replace({}, '[^[:alnum:]]', '', 'g'))").format(values[0])
    elif rule == "phone":
        text = sql.SQL("regexp_replace({}, '[^0-9]', '', 'g')").format(values[0])
    elif rule == "domain":
        return sql.SQL("coalesce({})").format(
            sql.SQL(", ").join(sql.SQL(_DOMAIN).format(value=value) for value in values)
        )
    else:
        words = [sql.SQL(_WORDS).format(value=value) for value in values]
        text = words[0] if len(words) == 1 else sql.SQL(" || chr(10) || ").join(words)
    return sql.SQL("nullif({}, '')").format(text)


# A name or town that is empty makes the whole key null.
_WORDS: Final = "nullif(lower(btrim(regexp_replace({value}, '\\s+', ' ', 'g'))), '')"
# The host of a web address, or what follows the @ of a mailbox that is the company's own.
_DOMAIN: Final = (
    """
(
    select host.name
    from (
        select regexp_replace(
            substring(
                lower(btrim({value})) from '^(?:[a-z]+://)?(?:[^/@]*@)?([^/:?#@]+\\.[^/:?#@]+)'
            ),
            '^www\\.',
            ''
        ) as name
    ) as host
    where host.name <> all ('{{"""
    + ",".join(SHARED_DOMAINS)
    + """}}'::text[])
)
"""
)
