"""The catalogue of texts: complete in each language, used, and the only place of words."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from pipedrive_pipeline.connect.pages import rendering, texts
from pipedrive_pipeline.marts.fields import value_checks
from pipedrive_pipeline.settings import PROJECT_ROOT
from pipedrive_pipeline.sync.status.problems import ProblemKind

SQL = PROJECT_ROOT / "sql"
TEMPLATES = rendering.FOLDER / "templates"
MARKUP = frozenset({"b", "bdi", "code", "kbd"})
PLACEHOLDER_PREFIX = re.compile(r"""["']((?:[a-z_]+\.)(?:\w+\.)*\w*)(["'{]|$)""")
NO_WORDS = re.compile(  # comments, Jinja, and the blocks that name a class
    r"\{#.*?#\}|\{% block \w*width %\}.*?\{% endblock %\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL
)
WITHOUT_WORDS = frozenset({"openapi.json"})  # names that are the same in every language
# Names of our tables and of records: without a text, a page shows the declaration's own.
DECLARED = ("records.", "table.")
# Their texts move to the catalogue when the pages are written anew.
TO_BE_REWRITTEN: frozenset[str] = frozenset()


def mentions() -> tuple[set[str], set[str]]:
    """The whole keys, and the beginnings of keys, that templates and modules name."""
    whole: set[str] = set()
    beginnings: set[str] = set()
    for path in [*TEMPLATES.rglob("*.*"), *rendering.FOLDER.glob("*.py")]:
        for key, end in PLACEHOLDER_PREFIX.findall(path.read_text(encoding="utf-8")):
            (whole if end != "{" and not key.endswith(".") else beginnings).add(key)
    return whole, beginnings


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def forms(text: texts.Text) -> list[str]:
    return [text] if isinstance(text, str) else list(text.values())


def test_each_language_has_the_same_texts_with_the_same_placeholders() -> None:
    """A missing one would be an error page for that language's readers only."""
    reference = texts.catalogue(texts.DEFAULT_LANGUAGE)
    for language in texts.LANGUAGES:
        catalogue = texts.catalogue(language)

        lacking = reference.keys() ^ catalogue.keys()
        assert {key for key in lacking if not key.startswith(DECLARED)} == set(), language
        for key in catalogue.keys() & reference.keys():
            text = catalogue[key]
            assert isinstance(text, str) == isinstance(reference[key], str), key
            # The singular may leave the number out.
            assert {name for form in forms(text) for name in placeholders(form)} == {
                name for form in forms(reference[key]) for name in placeholders(form)
            }, f"{language}: {key}"


def test_no_text_is_unused() -> None:
    whole, beginnings = mentions()

    unused = [
        key
        for key in texts.catalogue(texts.DEFAULT_LANGUAGE)
        if key not in whole and not any(key.startswith(prefix) for prefix in beginnings)
    ]

    assert unused == []


def test_each_reason_of_a_refused_value_is_in_the_catalogue() -> None:
    """The database says it in English; a page says it in the reader's language."""
    sources = [*SQL.glob("functions/misfits.sql"), Path(value_checks.__file__)]
    reasons = {
        reason
        for path in sources
        for reason in re.findall(
            r"(?:then|return|select)\s+'([a-z][a-z0-9 ]+ [a-z0-9 ]+)'|"
            r"'([a-z ]+)' as reason",
            path.read_text(encoding="utf-8"),
        )
        for reason in reason
        if reason
    }

    assert len(reasons) > 20
    assert {f"misfit.{reason.replace(' ', '_')}" for reason in reasons} == {
        key for key in texts.catalogue("de") if key.startswith("misfit.")
    }


def test_each_text_that_a_template_names_exists() -> None:
    catalogue = texts.catalogue(texts.DEFAULT_LANGUAGE)
    named = {
        key
        for path in TEMPLATES.rglob("*.html")
        for key in re.findall(r"""\bt\(\s*["']([\w.]+)["']\s*[,)]""", path.read_text("utf-8"))
    }

    assert named
    assert named - catalogue.keys() == set()


def test_a_name_that_is_declared_is_shown_without_a_text() -> None:
    """A mart without one made an error page of the settings and of the problems."""
    templates = [path.read_text("utf-8") for path in TEMPLATES.rglob("*.html")]

    assert [text for text in templates if re.search(r"""\bt\(["'](table|records)\.""", text)] == []


def test_each_kind_of_problem_has_its_texts() -> None:
    """One that lacks them would be an error page for everybody who has such a problem."""
    named = {
        key
        for kind in ProblemKind
        for key in (f"problem.{kind}.title", f"problem.{kind}.state", f"home.reason.{kind}")
        # A failed run is named by its code.
        if (kind, key.partition(".")[0]) != (ProblemKind.FAILED, "home")
    }

    assert named - texts.catalogue(texts.DEFAULT_LANGUAGE).keys() == set()


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_texts_have_simple_markup_only(language: str) -> None:
    """They are written into pages unescaped, also into attributes: no quote, no other tag."""
    for key, text in texts.catalogue(language).items():
        for form in forms(text):
            assert '"' not in form, key
            assert set(re.findall(r"</?([^\s>]*)[^>]*>", form)) <= MARKUP, key
            for tag in MARKUP:
                assert form.count(f"<{tag}>") == form.count(f"</{tag}>"), key
            assert not re.search(r"&(?!\w+;)", form), key


def test_templates_have_no_words_of_their_own() -> None:
    """A word in a template would be English on a German page."""
    for path in TEMPLATES.rglob("*.html"):
        if path.name in TO_BE_REWRITTEN:
            continue
        source = NO_WORDS.sub(" ", path.read_text("utf-8"))
        spoken = re.findall(r'\b(?:aria-label|title|placeholder|alt)="([^"]*)"', source)
        shown = " ".join([re.sub(r"<[^>]*>", " ", source), *spoken])
        words = re.findall(r"[^\W\d_]{2,}[\w.]*", shown)

        assert set(words) <= WITHOUT_WORDS, path.name


def test_the_browsers_most_preferred_language_of_ours_is_chosen() -> None:
    assert texts.preferred_language("de-AT,de;q=0.9,en;q=0.8") == "de"
    assert texts.preferred_language("en-GB,de;q=0.9") == "en"
    assert texts.preferred_language("fr,de;q=0.3,en;q=0.2") == "de"
    assert texts.preferred_language("fr") == "en"
    assert texts.preferred_language("de;q=x,,;q=1") == "de"
    assert texts.preferred_language("") == "en"


def test_a_number_of_one_takes_the_singular() -> None:
    for language in texts.LANGUAGES:
        plurals = [
            key for key, text in texts.catalogue(language).items() if not isinstance(text, str)
        ]
        for key in plurals:
            assert texts.text(language, key, 1) != texts.text(language, key, 2), key
            with pytest.raises(KeyError):
                texts.text(language, key)
