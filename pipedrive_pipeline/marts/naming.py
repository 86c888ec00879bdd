"""Readable column names made of field names that people typed.

Belongs here: one name from one text, and the next free one. Does not belong here: which field has
which column (`columns.py`).
Rests on https://www.postgresql.org/docs/current/sql-syntax-lexical.html: a name has 63 bytes, and
needs no quotes if it is lower-case, begins with a letter and is no reserved word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

NAME_MAX_BYTES = 63
NAMELESS = "field"  # for a name without any letter or digit, such as an emoji

_TRANSLITERATED = str.maketrans(
    {
        "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "oe", "œ": "oe",
        "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ı": "i", "ŋ": "ng",
        "%": " percent ", "€": " eur ", "$": " usd ", "&": " and ", "№": " no ",
    }
)  # fmt: skip
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
RESERVED = frozenset(_RESERVED_WORDS.split())


def readable(text: str) -> str:
    """The text as a snake_case name: umlauts spelt out, accents dropped, other scripts kept."""
    plain = unicodedata.normalize("NFC", text).casefold().translate(_TRANSLITERATED)
    letters = unicodedata.normalize("NFKD", plain)
    kept = (one if _is_kept(one) else "" if unicodedata.combining(one) else " " for one in letters)
    words = "".join(kept).casefold().split()
    name = unicodedata.normalize("NFC", "_".join(words)) or NAMELESS
    if not name[0].isalpha():
        name = f"{NAMELESS}_{name}"
    return f"{name}_{NAMELESS}" if name in RESERVED else name


def free_base(text: str, suffixes: Collection[str], taken: Iterable[str]) -> str:
    """The readable name to which all suffixes can be put without meeting a taken one.

    Args:
        text: the field's name.
        suffixes: of the field's columns, such as ``""`` and ``"_id"``.
        taken: names that are in use.
    """
    used = set(taken)
    base, room = readable(text), NAME_MAX_BYTES - max(len(one) for one in suffixes)
    number = 1
    while True:
        counter = "" if number == 1 else f"_{number}"
        candidate = shortened(base, room - len(counter)) + counter
        if not any(candidate + suffix in used for suffix in suffixes):
            return candidate
        number += 1


def shortened(name: str, max_bytes: int) -> str:
    """As much of a name as fits, without half a character or a trailing underscore."""
    if len(name.encode()) <= max_bytes:
        return name
    return name.encode()[:max_bytes].decode(errors="ignore").rstrip("_")


def words_of(text: str) -> list[str]:
    """The name's words, for comparing names in several languages."""
    return [word for word in re.split(r"_+", readable(text)) if word]


def _is_kept(character: str) -> bool:
    # Marks and letters beyond the basic plane would need quotes in some tools.
    return character.isalnum() and not unicodedata.combining(character)
