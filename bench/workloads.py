"""`./run bench`: what whole commands cost, as multiples of a floor, in one run on one machine.

Answers come as ready bytes (`ready_bytes.py`), so that nothing waits for a sandbox's work. The
floor of a read is a plain copy (`floor.py`), measured before and after it; the floor of a read
whose answers take 250 ms is the burst limit. Commands are measured from outside, with the start of
their process, in a temporary home with a Postgres of its own. Every round is a new home; the
figures are medians of all rounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import processors
import psutil
import psycopg
from commands import API_TOKEN, COMMAND, Measured, connect_tenant, environment_of, run, served

from pipedrive_pipeline.warehouse.embedded import ensure_running

HERE = Path(__file__).resolve().parent
READY_BYTES = [sys.executable, str(HERE / "ready_bytes.py")]
FLOOR = [sys.executable, str(HERE / "floor.py")]
DELAY_SECONDS, WINDOW_SECONDS = 0.25, 2
BURSTS = {20: "API token of the smallest plan", 80: "OAuth on the smallest plan"}
HEADINGS = (
    "workload", "floor s", "s", "ratio", "start s", "reading s", "processor s", "of Postgres",
    "calls", "429", "tokens", "connections", "MB",
)  # fmt: skip
GROWTH = (10_000, 50_000, 100_000, 200_000, 500_000)  # persons


@dataclass(frozen=True)
class Figures:
    """One workload, measured; seconds of processors are those of the command and of Postgres.

    The ratio is that of the seconds after the process's start: a floor has none.
    """

    workload: str
    floor_seconds: float | None
    seconds: float
    ratio: float | None
    start_seconds: float  # until the first call
    reading_seconds: float  # from the first call to the last one
    cpu_seconds: float
    postgres_cpu_seconds: float
    calls: int
    refused: int  # calls above the burst limit
    tokens: int
    connections: int
    peak_mb: float


class Bench:
    """A home, its Postgres and the served account."""

    def __init__(self, home: Path, url: str, database_url: str) -> None:
        self.environment = environment_of(home)
        self.url, self.database_url = url, database_url
        with psycopg.connect(database_url) as connection:
            self._data = _one(connection, "show data_directory")

    def control(self, **values: object) -> dict[str, float]:
        """Sets the served account's delay, burst or changes; returns its counts since then."""
        query = "&".join(f"{name}={value}" for name, value in values.items())
        with urllib.request.urlopen(f"{self.url}/bench?{query}") as answer:  # noqa: S310 - ours
            return dict(json.load(answer))

    def floor(self) -> float:
        """Seconds of a plain copy."""
        command = [*FLOOR, self.url, API_TOKEN, self.database_url]
        return float(run(command, self.environment).output["seconds"])

    def sync(self, workload: str, tenant: str, *options: str) -> tuple[Measured, Figures]:
        """One sync of a tenant; its figures have no floor yet."""
        self.control()
        sessions, spent = self._sessions(), self._postgres_seconds()
        command = [*COMMAND, "sync", "--tenant", tenant, *options, "--json"]
        measured = run(command, self.environment)
        counted = self.control()
        return measured, Figures(
            workload,
            None,
            round(measured.seconds, 2),
            None,
            round(counted["start_seconds"], 2),
            round(counted["seconds"], 2),
            round(measured.cpu_seconds, 2),
            round(self._postgres_seconds() - spent, 2),
            int(counted["calls"]),
            int(counted["refused"]),
            measured.output["tokens_spent"],
            self._sessions() - sessions - 1,  # less the one that counts
            round(measured.peak_mb),
        )

    def _sessions(self) -> int:
        with psycopg.connect(self.database_url) as connection:
            return int(_one(connection, "select sum(sessions) from pg_stat_database"))

    def _postgres_seconds(self) -> float:
        pid = int((Path(self._data) / "postmaster.pid").read_text().split()[0])
        return processors.spent(psutil.Process(pid))


def _one(connection: psycopg.Connection, query: str) -> str:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None  # noqa: S101 - a row of one value
    return str(row[0])


@contextmanager
def opened(organizations: int, persons: int) -> Iterator[Bench]:
    """A bench whose processes and files end with the block."""
    home = Path(tempfile.mkdtemp(prefix="pipeline-bench-"))
    home.chmod(0o755)  # root's server runs as an account that must reach it
    server = ensure_running(home)
    try:
        sizes = {"organizations": organizations, "persons": persons}
        with served(READY_BYTES, home, sizes) as url:
            yield Bench(home, url, server.url)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def measured(organizations: int, persons: int) -> list[Figures]:
    """One round of all workloads."""
    with opened(organizations, persons) as bench:
        connect_tenant(bench.url, bench.environment)
        bench.floor()  # the first one warms the machine
        figures = [
            _copied(bench, "first full sync", "--full"),
            _copied(bench, "everything again, unchanged", "--full"),
            bench.sync("nothing changed", "bench")[1],
        ]
        bench.control(touch=0.01)
        figures.append(bench.sync("1 % changed", "bench")[1])
        for burst, plan in BURSTS.items():
            tenant = f"burst_{burst}"
            connect_tenant(bench.url, bench.environment, tenant)
            bench.control(delay_seconds=DELAY_SECONDS, burst=burst)
            name = f"first full sync, {DELAY_SECONDS} s a call, burst {burst} ({plan})"
            _, read = bench.sync(name, tenant, "--full")
            bench.control(delay_seconds=0, burst=0)
            floor = read.calls * WINDOW_SECONDS / burst
            figures.append(_with_floor(read, floor))
        return figures


def _copied(bench: Bench, workload: str, *options: str) -> Figures:
    before = bench.floor()
    _, figures = bench.sync(workload, "bench", *options)
    return _with_floor(figures, (before + bench.floor()) / 2)


def _with_floor(figures: Figures, floor: float) -> Figures:
    values = asdict(figures) | {
        "floor_seconds": round(floor, 2),
        "ratio": round((figures.seconds - figures.start_seconds) / floor, 2),
    }
    return Figures(**values)


def medians(rounds: list[list[Figures]]) -> list[Figures]:
    """Each workload's median of each figure."""
    result = []
    for same in zip(*rounds, strict=True):
        values = [asdict(each) for each in same]
        result.append(
            Figures(
                **{
                    key: value
                    if value is None or isinstance(value, str)
                    else median(each[key] for each in values)
                    for key, value in values[0].items()
                }
            )
        )
    return result


def growth() -> list[tuple[int, float, float]]:
    """Persons, seconds of a first load of them, megabytes."""
    points = []
    for persons in GROWTH:
        with opened(1, persons) as bench:
            connect_tenant(bench.url, bench.environment)
            _, figures = bench.sync(f"{persons} persons", "bench", "--full")
            points.append((persons, figures.seconds, figures.peak_mb))
            print(f"{persons} persons: {figures.seconds} s", file=sys.stderr)
    return points


def chart(points: list[tuple[int, float, float]]) -> str:
    """Seconds by persons as an SVG with its numbers as text."""
    width, height, left, bottom = 640, 320, 60, 40
    most_rows, most_seconds = points[-1][0], max(seconds for _, seconds, _ in points) * 1.1
    places = [
        (
            left + rows / most_rows * (width - left - 20),
            height - bottom - seconds / most_seconds * (height - bottom - 20),
            f"{rows:,}: {seconds:.0f} s, {megabytes:.0f} MB",
        )
        for rows, seconds, megabytes in points
    ]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y, _ in places)
    dots = "".join(
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4"/>'
        + (
            f'<text x="{x + 10:.0f}" y="{y + 9:.0f}">{text}</text>'
            if x < width / 2
            else f'<text x="{x - 10:.0f}" y="{y + 4:.0f}" text-anchor="end">{text}</text>'
        )
        for x, y, text in places
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="10">'
        "<title>Seconds of a first load by persons</title>"
        f'<path d="M{left},20 V{height - bottom} H{width - 20}" fill="none" stroke="#888"/>'
        f'<polyline points="{line}" fill="none" stroke="#2563eb" stroke-width="2"/>{dots}'
        f'<text x="{width / 2:.0f}" y="{height - 10}" text-anchor="middle">persons</text></svg>\n'
    )


def _table(figures: list[Figures]) -> str:
    head = f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}"
    rows = [
        "| "
        + " | ".join("" if value is None else f"{value}" for value in asdict(each).values())
        + " |"
        for each in figures
    ]
    return "\n".join([head, *rows])


def main() -> None:
    """Measures and prints; ends with 1 if a command that is measured fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organizations", type=int, default=20_000)
    parser.add_argument("--persons", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--chart", type=Path)
    asked = parser.parse_args()
    if asked.chart:
        asked.chart.write_text(chart(growth()))
        return
    rounds = [measured(asked.organizations, asked.persons) for _ in range(asked.rounds)]
    figures = medians(rounds)
    print(
        json.dumps([asdict(each) for each in figures], indent=2) if asked.json else _table(figures)
    )


if __name__ == "__main__":
    main()
