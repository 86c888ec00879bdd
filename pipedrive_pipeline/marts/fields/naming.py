"""Readable column names, derived from the field names that people typed.

A name has at most 63 bytes and needs no quotes if it is lower-case, begins with a letter and is no
reserved word: https://www.postgresql.org/docs/current/sql-syntax-lexical.html (read 2026-11).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

NAME_MAX_BYTES = 63
NAMELESS = "field"  # for a name without any letter or digit, such as an emoji

_TRANSLITERATED = str.maketrans(
    {
        "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "oe", "œ": "oe",
        "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ı": "i", "ŋ": "ng",
        "%": " percent ", "€": " eur ", "$": " usd ", "&": " and ", "№": " no ",
    }
)  # fmt: skip
# NFKD takes two letters apart that NFC does not unite again: am in Thai and Lao.
_UNITED = (("\u0e4d\u0e32", "\u0e33"), ("\u0ecd\u0eb2", "\u0eb3"))
# Reserved in PostgreSQL 15 to 18, or usable as a column only behind `as`.
_RESERVED_WORDS = (
    "all analyse analyze and any array as asc asymmetric authorization between bigint binary "
    "bit boolean both case cast char character check coalesce collate collation column "
    "concurrently constraint create cross current_catalog current_date current_role "
    "current_schema current_time current_timestamp current_user day dec decimal default "
    "deferrable desc distinct do else end except exists extract false fetch filter float for "
    "foreign freeze from full grant greatest group grouping having hour ilike in initially "
    "inner inout int integer intersect interval into is isnull join json json_array "
    "json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize "
    "json_table json_value lateral leading least left like limit localtime localtimestamp "
    "merge_action minute month national natural nchar none normalize not notnull null nullif "
    "numeric offset on only or order out outer over overlaps overlay placing position precision "
    "primary real references returning right row second select session_user setof similar "
    "smallint some substring symmetric system_user table tablesample then time timestamp to "
    "trailing treat trim true union unique user using values varchar variadic varying verbose "
    "when where window with within without xmlattributes xmlconcat xmlelement xmlexists "
    "xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable year "
)
# Columns that every table has already: `create table … as select *` refuses these names.
# https://www.postgresql.org/docs/current/ddl-system-columns.html (read 2026-11)
_SYSTEM_COLUMNS = "cmax cmin ctid tableoid xmax xmin"
RESERVED = frozenset(f"{_RESERVED_WORDS} {_SYSTEM_COLUMNS}".split())


def readable(text: str) -> str:
    """Returns a snake_case name: umlauts spelt out, Latin accents dropped, other scripts kept."""
    plain = unicodedata.normalize("NFC", text).casefold().translate(_TRANSLITERATED)
    words = "".join(_name_characters(unicodedata.normalize("NFKD", plain))).casefold().split()
    name = unicodedata.normalize("NFC", "_".join(words)) or NAMELESS
    for decomposed, letter in _UNITED:
        name = name.replace(decomposed, letter)
    if not name[0].isalpha():
        name = f"{NAMELESS}_{name}"
    return f"{name}_{NAMELESS}" if name in RESERVED else name


def _name_characters(characters: str) -> Iterator[str]:
    """Yields letters, digits, marks of non-Latin letters, and a blank for every separator.

    In most scripts a mark makes another letter (й, が) or is a vowel (हिन्दी); a Latin name is more
    readable without marks.
    """
    is_marked = False  # true while the letter before keeps its marks
    for character in characters:
        category = unicodedata.category(character)
        if character.isalnum():
            is_marked = character.isalpha() and "LATIN" not in unicodedata.name(character, "")
            yield character
        elif category.startswith("M"):
            if is_marked and "VARIATION SELECTOR" not in unicodedata.name(character, ""):
                yield character
        elif category != "Cf":  # joiners and directions show nothing
            is_marked = False
            yield " "


def free_base(text: str, suffixes: Collection[str], taken: Iterable[str]) -> str:
    """Returns a readable name that stays free with each of the suffixes appended.

    Args:
        text: the field's name.
        suffixes: of the field's columns, such as ``""`` and ``"_id"``.
        taken: names that are in use.
    """
    used = set(taken)
    base, room = readable(text), NAME_MAX_BYTES - max(len(suffix) for suffix in suffixes)
    number = 1
    while True:
        counter = "" if number == 1 else f"_{number}"
        candidate = shortened(base, room - len(counter)) + counter
        if not any(candidate + suffix in used for suffix in suffixes):
            return candidate
        number += 1


def shortened(name: str, max_bytes: int) -> str:
    """Cuts a name to at most ``max_bytes``; never between a letter and its marks, nor after `_`."""
    if len(name.encode()) <= max_bytes:
        return name
    cut = name.encode()[:max_bytes].decode(errors="ignore")
    while cut and unicodedata.category(name[len(cut)]).startswith("M"):
        cut = cut[:-1]
    return cut.rstrip("_")


def words_of(text: str) -> list[str]:
    """Returns the words of a name, to compare names in several languages."""
    return [word for word in re.split(r"_+", readable(text)) if word]
