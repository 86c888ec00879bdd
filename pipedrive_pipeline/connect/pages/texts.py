"""The texts of the pages, in each language: `texts/<language>/<group>.toml`.

A key is the name of the file and the place in it: `home.lede` is `lede` in `home.toml`. A table
with `one` and `other` is a text with a number, chosen by `count`. Texts may contain simple markup
(`<b>`, `<bdi>`, `<code>`, `<kbd>`); the values that are filled in are escaped.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from markupsafe import Markup

FOLDER: Final = Path(__file__).parent / "texts"
LANGUAGES: Final = {"en": "English", "de": "Deutsch"}
DEFAULT_LANGUAGE: Final = "en"
PLURAL_FORMS: Final = frozenset({"one", "other"})

Text = str | Mapping[str, str]


@cache
def catalogue(language: str) -> Mapping[str, Text]:
    """Every text of one language, by its key."""
    texts: dict[str, Text] = {}
    for path in sorted((FOLDER / language).glob("*.toml")):
        texts.update(_flat(path.stem, tomllib.loads(path.read_text(encoding="utf-8"))))
    return texts


def text(language: str, key: str, count: int | None = None) -> str:
    """One text, with its placeholders.

    Raises:
        KeyError: no text has this key, or it needs a ``count``.
    """
    found = catalogue(language)[key]
    if isinstance(found, str):
        return found
    if count is None:
        raise KeyError(f"{key} needs a count")
    # Both languages use the singular for exactly one.
    return found["one" if count == 1 else "other"]


def filled(language: str, key: str, values: Mapping[str, object], count: int | None) -> Markup:
    """One text with its values, which are escaped."""
    return Markup(text(language, key, count)).format(**values)  # noqa: S704 - our own text


def preferred_language(accept_language: str) -> str:
    """The language of ours that a browser prefers most, by its `Accept-Language`.

    Source: RFC 9110 §12.5.4
    """
    ranked: list[tuple[float, str]] = []
    for part in accept_language.split(",")[:20]:
        name, _, weight = part.strip().partition(";q=")
        language = name.split("-")[0].strip().lower()
        if language in LANGUAGES:
            ranked.append((_weight(weight), language))
    return max(ranked, key=lambda entry: entry[0])[1] if ranked else DEFAULT_LANGUAGE


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


def _flat(prefix: str, table: Mapping[str, object]) -> Iterator[tuple[str, Text]]:
    """Each text of a table with its whole key."""
    for name, value in table.items():
        key = f"{prefix}.{name}"
        if isinstance(value, str) or (isinstance(value, dict) and value.keys() == PLURAL_FORMS):
            yield key, value
        elif isinstance(value, dict):
            yield from _flat(key, value)
        else:
            raise TypeError(f"{key} is neither a text nor a table")
