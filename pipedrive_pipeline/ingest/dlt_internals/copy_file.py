"""A load's rows as the file that COPY reads, with "" and null apart.

dlt receives the file unchanged. From a table it wrote Parquet, read that, and wrote CSV: a third of
the time that a load took.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pyarrow as pa
from pyarrow import csv

LOAD_ID = "_dlt_load_id"  # the marts follow it

COPY_OPTIONS = "format csv, null '', encoding 'utf-8'"
_SPELLING = csv.WriteOptions(quoting_style="needed")  # text has quotes, null is nothing at all


def write(table: pa.Table, load_id: str, path: Path) -> None:
    """The rows as CSV with a header, each with the load's id."""
    of_load = pa.repeat(pa.scalar(load_id), table.num_rows)
    csv.write_csv(table.append_column(LOAD_ID, of_load), path, _SPELLING)


def header(file: IO[bytes]) -> list[str]:
    """The names of the columns; what is left of the file is rows."""
    return [name.strip('"') for name in file.readline().decode().strip().split(",")]
