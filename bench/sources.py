"""What a source of credentials costs a start: its time over no credentials at all, and what it loads of
the AWS SDK. Each measured in a process of its own, from the settings to the credentials in hand."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.report import Figure

CONTROL = "anonymous"
PLAIN = ("access_key", "environment_variables", "user_credentials_file")
BY_SDK = "sso"
WANTED_MS = 20.0  # the SDK's session takes 80 and more

# Prints the milliseconds and how many of the SDK's modules were loaded by then.
_CHILD = """
import asyncio, json, sys, time
import s3discovery
from s3discovery.settings.config import parse
from s3discovery.credentials import provider_for
from s3discovery.errors import CredentialsError

settings = parse(json.loads(sys.argv[1]))

async def ask():
    try:
        await provider_for(settings).credentials()
    except CredentialsError:
        return False
    return True

began = time.perf_counter()
found = asyncio.run(ask())
took_ms = (time.perf_counter() - began) * 1000
loaded = sum(name.partition(".")[0] in ("botocore", "boto3") for name in sys.modules)
print(json.dumps([took_ms, loaded, found]))
"""


def measure_sources(runs: int) -> list[Figure]:
    """Return a figure for each type that needs no SDK, and one for a type that does."""
    with tempfile.TemporaryDirectory(prefix="s3discovery-bench-") as folder:
        environ = _environ(Path(folder))
        took_ms: dict[str, list[float]] = {kind: [] for kind in (CONTROL, *PLAIN, BY_SDK)}
        loaded = dict.fromkeys(took_ms, 0)
        for run in range(runs + 1):  # in turn, so that a busy moment hits all alike; the first warms up
            for kind, series in took_ms.items():
                ms, loaded[kind], found = _ask(kind, environ)
                assert found == (kind != BY_SDK), f"{kind} gave {'none' if not found else 'some'}"
                if run:
                    series.append(ms)
    median_ms = {kind: statistics.median(series) for kind, series in took_ms.items()}
    return [_figure(kind, median_ms[kind], median_ms[CONTROL], loaded[kind]) for kind in (*PLAIN, BY_SDK)]


def _figure(kind: str, ms: float, control_ms: float, loaded: int) -> Figure:
    over_ms = ms - control_ms
    note = f"{loaded} modules of the SDK; {CONTROL} {control_ms:.1f} ms"
    what = f"credentials {kind}, over {CONTROL}"
    if kind == BY_SDK:
        return Figure(what, over_ms, "ms", note=f"{note}; for comparison")
    return Figure(what, over_ms, "ms", f"< {WANTED_MS:g}", loaded == 0 and over_ms < WANTED_MS, note)


def _environ(folder: Path) -> dict[str, str]:
    """Return an environment with keys in variables and in a credentials file, and nothing else of AWS."""
    file = folder / "credentials"
    file.write_text("[default]\naws_access_key_id=AKFILE\naws_secret_access_key=bench\n", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": "AKENV",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_SHARED_CREDENTIALS_FILE": str(file),
        "AWS_CONFIG_FILE": str(folder / "none"),
    }


def _ask(kind: str, environ: Mapping[str, str]) -> tuple[float, int, bool]:
    texts = {
        "s3-bucket-region": "us-east-1",
        "s3-bucket-name": "bench",
        "file-prefix": "nodes/",
        "file-expiration": "6h",
        "update-interval": "3h",
        "credentials-type": kind,
        "credentials-access-key-id": "AK",
        "credentials-secret-access-key": "bench",
    }
    answer = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(texts)],
        env=dict(environ),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    ms, loaded, found = json.loads(answer.stdout)
    return float(ms), int(loaded), bool(found)
