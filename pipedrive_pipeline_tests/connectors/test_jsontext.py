"""Bodies that are JSON, almost JSON, and cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from pipedrive_pipeline.connectors.jsontext import JsonReader, NotReadable

read = JsonReader(list[dict[str, Raw]])


def value_of(text: bytes) -> tuple[bytes, int]:
    """The value of the only key, and how many values were mended."""
    records, mended_count = read(b'[{"id":1,"a":' + text + b',"z":2}]')
    assert bytes(records[0]["id"]) == b"1"
    assert bytes(records[0]["z"]) == b"2"
    return bytes(records[0]["a"]), mended_count


@pytest.mark.parametrize(
    "text", [b"1.10", b"1e400", b"-0.0", b"123456789012345678901234567890", b'"\\u0000"']
)
def test_a_value_keeps_its_text(text: bytes) -> None:
    """A float in between would lose digits; ingest decides what a column holds."""
    assert value_of(text) == (text, 0)


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (b"NaN", b'"NaN"'),
        (b"-Infinity", b'"-Infinity"'),
        (b'[Infinity, "NaN \\" NaN"]', b'["Infinity", "NaN \\" NaN"]'),
        (b'"x\\ud800y"', b'"x\\ufffdy"'),
        (b'"\\udc00"', b'"\\ufffd"'),
        (b'"\\ud83d\\ude00\\ud83d"', b'"\\ud83d\\ude00\\ufffd"'),
        (b'"\\\\ud800 \\ud800"', b'"\\\\ud800 \\ufffd"'),
        (b'"a\nb\x00"', b'"a\\u000ab\\u0000"'),
        (b'{"\\ud800":1}', b'{"\\ufffd":1}'),
    ],
)
def test_a_value_that_is_no_json_arrives_as_text(text: bytes, mended: bytes) -> None:
    """One such value must not keep a tenant's whole page out for ever."""
    value, mended_count = value_of(text)

    assert value == mended
    assert mended_count >= 1
    json.loads(value)


@pytest.mark.parametrize("opening", [b"[", b'{"x":'])
def test_bottomless_nesting_arrives_as_text(opening: bytes) -> None:
    """Msgspec and Python's json both end in a RecursionError."""
    closing = b"]" if opening == b"[" else b"}"
    value, mended_count = value_of(opening * 20_000 + b"7" + closing * 20_000)

    assert mended_count == 1
    assert b"7" in value
    json.loads(value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'[{"a":1}',
        b'[{"a":NaN',
        b'[{"a":"\\ud800',
        b'[{"a":' + b"[" * 20_000,
        b'[{"a":1}] trailing',
        b'[{"a":"\xff"}]',
        '[{"a":"ü"}]'.encode("utf-16"),
        b"<html>",
    ],
)
def test_a_body_that_was_cut_or_is_something_else_is_refused(body: bytes) -> None:
    """Half a page taken for a whole one loses rows without a word."""
    with pytest.raises(NotReadable) as refused:
        read(body)

    assert "ü" not in str(refused.value)


def test_a_byte_order_mark_is_ignored() -> None:
    """It is no JSON, but its sense is plain."""
    assert read(b"\xef\xbb\xbf[]") == ([], 0)


@pytest.mark.slow
@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=5),
            st.recursive(
                st.floats() | st.integers() | st.text(max_size=8) | st.booleans() | st.none(),
                lambda inner: st.lists(inner, max_size=3),
            ),
            max_size=3,
        ),
        max_size=3,
    ),
    st.booleans(),
)
def test_all_json_that_python_writes_can_be_read(value: object, is_ascii: bool) -> None:
    """Python's json writes NaN and lone surrogates without asking; so do servers in Python."""
    text = json.dumps(value, ensure_ascii=is_ascii)
    body = text.encode("utf-8", errors="replace")

    records, _ = read(body)

    assert len(records) == len(json.loads(text))


@given(st.integers(min_value=1, max_value=200))
def test_every_cut_is_seen(cut_bytes: int) -> None:
    """At every byte where the connection may break."""
    body = json.dumps([{"a": float("nan"), "b": "\ud800x", "c": [1, {"d": None}]}] * 4).encode()

    with pytest.raises(NotReadable):
        read(body[: -min(cut_bytes, len(body))])
