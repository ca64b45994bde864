"""`make bench`, or: .venv/bin/python -m bench [--quick] [--only PART] [--json FILE]"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

from bench.report import Part


def _polls(quick: bool) -> Part:
    from bench import polls

    return polls.measure(quick=quick)


def _start(quick: bool) -> Part:
    from bench import start

    return start.measure(quick=quick)


def _join(quick: bool) -> Part:
    from bench import join

    return join.measure(quick=quick)


def _messages(quick: bool) -> Part:
    from bench import rates

    return rates.measure(quick=quick)


def _serving(quick: bool) -> Part:
    from bench import serving

    return serving.measure(quick=quick)


_PARTS: dict[str, Callable[[bool], Part]] = {
    "polls": _polls,
    "start": _start,
    "join": _join,
    "messages": _messages,
    "serving": _serving,
}


def main() -> None:
    """Measure what was asked for; missed figures are told, and are no failure: machines differ."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure s3discovery on this machine."
    )
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repetitions")
    parser.add_argument("--only", choices=_PARTS, action="append", help="a part alone; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    given = parser.parse_args()
    print(f"s3discovery bench: Python {platform.python_version()}, {os.cpu_count()} processors\n", flush=True)
    parts = [
        measure(given.quick) for name, measure in _PARTS.items() if given.only is None or name in given.only
    ]
    figures = [figure for part in parts for figure in part.figures if figure.is_ok is not None]
    missed = [figure.what for figure in figures if not figure.is_ok]
    print(f"{len(figures) - len(missed)} of {len(figures)} wanted figures reached")
    for what in missed:
        print(f"  MISSED {what}")
    if given.json is not None:
        report = {
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "parts": {part.name: part.as_json() for part in parts},
        }
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
