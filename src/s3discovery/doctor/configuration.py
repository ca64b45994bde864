"""The settings: whether they are right and known, every problem a finding of its own."""

from collections.abc import Iterator

from s3discovery.doctor.faults import report
from s3discovery.doctor.finding import Finding, ok
from s3discovery.errors import Problem, SettingsError
from s3discovery.settings.config import Settings, unknown_keys
from s3discovery.settings.sources import remarks
from s3discovery.wiring import Origins

_CHECK = "configuration"


def examine_configuration(origins: Origins) -> tuple[Settings | None, list[Finding]]:
    """Return the settings, None if they are wrong, and what was found about them."""
    try:
        values = origins.values()
    except SettingsError as error:
        return None, list(wrong_settings(error))
    findings = []
    for name, nearest in unknown_keys(values):
        cure = f"write {nearest} if that is meant, or remove it" if nearest else "remove it"
        found = f"{name!r} (set in {values[name].origin}) is no setting"
        findings.append(report("unknown-key", found, cure=cure))
    for name, remark in remarks(values):
        what, _, cure = remark.partition(": ")
        findings.append(report("doubtful-setting", f"{name} {what}", cure=cure))
    try:
        settings = origins.read(as_node=True, serves=True)
    except SettingsError as error:
        return None, [*findings, *wrong_settings(error)]
    origin = "variables and options" if origins.file is None else f"{str(origins.file)!r}"
    place = f"s3://{settings.bucket_name}/{settings.file_prefix}"
    lives = f"expiry {settings.file_expiration_s:g} s, refresh {settings.update_interval_s:g} s"
    read_as = f"{lives}, {settings.compatibility}"
    return settings, findings or [ok(_CHECK, f"{origin}: {place!r} in {settings.bucket_region}, {read_as}")]


def wrong_settings(error: SettingsError) -> Iterator[Finding]:
    """Return a finding for every problem."""
    for problem in error.problems:
        yield report("wrong-setting", _shown(problem), cure=problem.cure)


def _shown(problem: Problem) -> str:
    return problem.key if problem.value is None else f"{problem.key}={problem.value!r}"
