"""150 values that have broken readers of CRM data, as JSON, for any type of field."""

from __future__ import annotations

import json
from typing import Any, Final

TEXTS: Final[list[Any]] = [
    "", " ", "x", "null", "NULL", "None", "undefined", "NaN", "Infinity", "-Infinity", "true",
    "false", "TRUE", "yes", "0", "1", "-1", "+1", "00", "007", "1.0", "1.", ".5", "1,5", "12,5",
    "1.234,56", "1 000", "1e3", "1e400", "1e99999", "-0", "0x1F", "1_000", "٣", "９", "1\n", "\t1",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "9" * 400, "9" * 401,
    "€ 5", "50%", "1;2", "1,2", "2,1", "1,,2", ",1", "1, 2", "1,x", "[1,2]", "{}", "a,b",
    "\ufffd", "\ufffe", "\u202egnp.exe", "\u200b", "e\u0301", "שלום", "😀", "👩‍👩‍👧‍👦",
    "ß", "İ", "\x7f", "\x1b[0m",
    "a\nb", "a\r\nb", "a\tb", "=1+1", "+cmd", "@x", "'; drop table crm.customers; --",
    "\\", "\\x00", '"', "'", "$$", "%s", "{0}", "<script>", "x" * 10_000, "ä" * 1_000,
    "0000-00-00", "0000-00-00 00:00:00", "2024-02-29", "2024-02-30", "2023-02-29", "2026-01-31",
    "2026-1-31", "31.01.2026", "2026-13-01", "2026-00-10", "2026-01-00", "2026-01-32", "0001-01-01",
    "9999-12-31", "10000-01-01", "-0001-01-01", "2026-01-31T10:20:30Z", "2026-01-31 10:20:30",
    "infinity", "-infinity", "now", "today", "epoch", "allballs",
    "09:00", "09:00:00", "9:00", "24:00", "24:00:00", "23:59:60", "23:59:59.999999", "25:00",
    "12:60", "12:00:00+14:00", "12:00 PM", "10:20:30.1234567",
]  # fmt: skip
NUMBERS: Final = [
    "0", "-0", "1", "-1", "1.0", "1.5", "0.1", "0.30000000000000004", "1e2", "1E-7", "12345678.9",
    "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "1e30", "1e308", "1e400", "123456789012345678901234567890.123456789",
]  # fmt: skip
SHAPES: Final = [
    "true", "false", "[]", "[1]", "[2,1,1]", "[1,null]", '[1,"x"]', '["1"]', "[[1]]", "[true]",
    '{"x": 1}', '{"value": null, "currency": null}', '{"value": 1}', '{"value": "x"}',
    '{"currency": "EUR"}', '{"value": 1.5, "currency": "XXX"}', '{"value": 1, "currency": 7}',
    '{"value": 1, "currency": ["EUR"]}', '{"value": "2026-01-01", "until": null}',
    '{"value": null, "until": "2026-01-01"}', '{"value": "2026-02-01", "until": "2026-01-01"}',
    '{"value": "2026-02-30", "until": "2026-03-01"}', '{"value": "09:00:00", "until": "08:00:00"}',
    '{"value": "09:00:00", "timezone_id": 280}', '{"value": "9", "timezone_name": {}}',
    '{"timezone_name": "Europe/Berlin"}', '{"value": "Kai 1", "route": null}', '{"route": "Kai"}',
    '{"value": {"x": 1}}', '{"value": "Kai 1", "locality": ["Kiel"]}', '{"id": 3, "name": "Ada"}',
    '{"value": 3, "name": "Ada"}', '{"id": "x"}', '[{"value": "+49", "primary": true}]',
]  # fmt: skip
VALUES: Final[list[str]] = [*(json.dumps(text) for text in TEXTS), *NUMBERS, *SHAPES]
