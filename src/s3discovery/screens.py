"""What the commands show: tables for people, lines and JSON for scripts.

Ids and hosts come from the bucket: people get them spelled out where they deceive (`legible`), in `Text`,
which interprets no markup. JSON escapes them itself.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s3discovery.legibility import legible
from s3discovery.membership import Change
from s3discovery.node import Member
from s3discovery.settings.config import Resolved
from s3discovery.topology import Topology, standings


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on standard error that something is under way, where a person looks on."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(f"{what} ..."):
        yield


def member_rows(
    members: Iterable[Member], now_s: float | None, own_id: str | None
) -> list[dict[str, object]]:
    """Return what `members --format json` prints; `age_s` is None where S3's time is unknown."""
    return [
        {
            "cluster_id": member.cluster_id,
            "host": member.address.host,
            "port": member.address.port,
            "age_s": None if now_s is None else max(0.0, round(now_s - member.modified_s, 1)),
            "own": member.cluster_id == own_id,
        }
        for member in sorted(members, key=lambda member: member.cluster_id)
    ]


def members_table(rows: list[dict[str, object]]) -> Table:
    table = _table("cluster id", "address", "age", "")
    for row in rows:
        own = "own" if row["own"] else ""
        table.add_row(_shown(row["cluster_id"]), _shown(_place(row)), _age(row), own)
    return table


def _place(row: dict[str, object]) -> str:
    host, port = str(row["host"]), row["port"]
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _age(row: dict[str, object]) -> str:
    return duration(age_s) if isinstance(age_s := row["age_s"], float) else "?"


def status_rows(
    members: Iterable[Member], now_s: float | None, own_id: str | None
) -> list[dict[str, object]]:
    """Return the rows of `member_rows`, each with what the node reports of its broker.

    `state` is "formed", "waiting" or None for a node that tells nothing; `misses` are ids it does not see."""
    states = {True: "formed", False: "waiting", None: None}
    reports = {member.cluster_id: member.report for member in members}
    return [
        row
        | {
            "state": states[reports[str(row["cluster_id"])].is_formed],
            "misses": sorted(reports[str(row["cluster_id"])].missing),
        }
        for row in member_rows(members, now_s, own_id)
    ]


def status_document(found: Topology, rows: list[dict[str, object]]) -> dict[str, object]:
    """Return what `status --format json` prints."""
    return {
        "cluster": str(found),
        "whole": bool(rows) and found.is_whole if found.is_told else None,
        "split": found.is_split,
        "groups": [list(group) for group in found.groups],
        "waiting": list(found.waiting),
        "strangers": list(found.strangers),
        "members": rows,
    }


def status_line(found: Topology) -> str:
    """Return in a line what cluster there is."""
    return legible(str(found))


def status_table(rows: list[dict[str, object]], found: Topology) -> Table:
    standing = standings(found)
    table = _table("cluster id", "address", "age", "broker", "does not see")
    for row in rows:
        misses = row["misses"]
        table.add_row(
            _shown(row["cluster_id"]),
            _shown(_place(row)),
            _age(row),
            standing[str(row["cluster_id"])],
            _shown(", ".join(misses) if isinstance(misses, list) else ""),
        )
    return table


def settings_table(resolved: Iterable[Resolved]) -> Table:
    table = _table("key", "value", "from")
    for line in resolved:
        table.add_row(line.name, _shown("-" if line.text is None else line.text), _shown(line.origin))
    return table


def print_table(table: Table) -> None:
    """Print a table; cut to the width of a terminal, whole where a program reads."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    console.print(table)


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    sys.stdout.flush()


def print_problems(problems: Mapping[str, str]) -> None:
    """Tell on standard error which files were skipped, and why."""
    for key, problem in sorted(problems.items()):
        sys.stderr.write(legible(f"skipped {key!r}: {problem}") + "\n")


def change_row(change: Change) -> dict[str, object]:
    member = change.member
    return {
        "change": change.kind,
        "cluster_id": member.cluster_id,
        "host": member.address.host,
        "port": member.address.port,
    }


def print_change(change: Change, *, as_json: bool) -> None:
    """Print one change as a line, at once."""
    if as_json:
        sys.stdout.write(json.dumps(change_row(change)) + "\n")
    else:
        who = legible(f"{change.member.cluster_id} {change.member.address}")
        sys.stdout.write(f"{_now()} {change.kind:6} {who}\n")
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """Return a length of time as people say it: 8s, 3m 20s, 5h 12m."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    return f"{whole // 3600}h {whole % 3600 // 60}m"


def _shown(text: object) -> Text:
    return Text(legible(str(text)))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _now() -> str:
    return time.strftime("%H:%M:%S")
