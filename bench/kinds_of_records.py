"""What a row of each kind of record takes, compared with a person: processor time and memory.

`uv run --group dev python bench/kinds_of_records.py` reads one kind after the other, each with
`sync --full --entity`, from a sandbox account into an embedded Postgres of its own, from an empty
raw table to filled marts. The processor seconds are those of the command and of Postgres, less
those of a command that reads next to nothing; they compare between machines with other work. The
sandbox is a process of its own and is not counted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from commands import COMMAND, TENANT, connect_tenant, environment_of, run, sandbox
from processors import spent

from pipedrive_pipeline.warehouse.embedded import ensure_running

PERSONS = "persons"  # with which the others are compared
KINDS = ("deals", "activities", "deal_products")
SMALL = "pipelines"  # what a read costs that is hardly about rows
GOAL_RATIO = 1.3  # of the time of a person
MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Read:
    """One kind of record, read whole by one command."""

    rows: int
    cpu_seconds: float
    postgres_seconds: float
    peak_mb: float

    def microseconds_per_row(self, small: Read) -> float:
        """Processor time of a row, without that of starting and ending a command."""
        own = self.cpu_seconds + self.postgres_seconds
        return (own - small.cpu_seconds - small.postgres_seconds) / self.rows * MICROSECONDS


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deals", type=int, default=100_000, help="3 activities, 1 line each.")
    parser.add_argument("--persons", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="pipeline-bench-"))
    home.chmod(0o755)  # root's server runs as an account that must reach it
    server = ensure_running(home)
    sizes = {"organizations": asked.persons // 5, "persons": asked.persons, "deals": asked.deals}
    try:
        with sandbox(home, **sizes) as url:
            environment = environment_of(home)
            connect_tenant(url, environment)
            postgres = psutil.Process(server.pid)
            _read("organizations", environment, postgres)
            small = _read(SMALL, environment, postgres)
            reads = {kind: _read(kind, environment, postgres) for kind in (PERSONS, *asked.kinds)}
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(_compared(reads, small), indent=2))


def _read(kind: str, environment: dict[str, str], postgres: psutil.Process) -> Read:
    """Reads every record of one kind."""
    before = spent(postgres)
    command = [*COMMAND, "sync", "--tenant", TENANT, "--full", "--entity", kind, "--json"]
    measured = run(command, environment)
    return Read(
        rows=measured.output["entities"][kind]["fetched"],
        cpu_seconds=measured.cpu_seconds,
        postgres_seconds=spent(postgres) - before,
        peak_mb=measured.peak_mb,
    )


def _compared(reads: dict[str, Read], small: Read) -> dict[str, object]:
    """Returns each kind's figures and how they compare with those of persons."""
    persons = reads[PERSONS]
    facts = {}
    for kind, read in {SMALL: small, **reads}.items():
        own = read.microseconds_per_row(small)
        ratio = own / persons.microseconds_per_row(small)
        facts[kind] = {
            **{name: round(value, 1) for name, value in asdict(read).items()},
            "microseconds_per_row": round(own),
            "times_a_person": round(ratio, 2),
            "memory_of_persons": round(read.peak_mb / persons.peak_mb, 2),
            "is_within_goal": ratio <= GOAL_RATIO,
        }
    return facts


if __name__ == "__main__":
    main()
