"""What an examination finds: values only, and the one shape in which programs read them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

# The shape of `as_json`; raised when a field changes its meaning or goes. New fields and faults may come.
VERSION = 1

# Every check, in the order of the way: what comes later mostly needs what comes before.
CHECKS: Mapping[str, str] = {
    "configuration": "the settings are complete, right, and known",
    "credentials": "their source gives some, and until when they last",
    "dns": "the name of the endpoint has addresses",
    "tcp": "one of them takes a connection",
    "proxy": "the proxy, if there is one, lets through",
    "tls": "the certificate is trusted, of the right name, and lasts",
    "store": "what answers is S3, and accepts the credentials",
    "clock": "this machine's clock agrees with the store's",
    "region": "the bucket is in the region that is set",
    "bucket": "the bucket exists",
    "list": "the prefix may be listed",
    "delete": "an object below the prefix may be deleted",
    "put": "one may be written",
    "get": "one may be read",
    "listed": "a listing shows at once what was written, under its own key",
    "conditions": "the store honours If-Match and If-None-Match",
    "metadata": "it keeps what nodes say beside their files",
    "encryption": "it takes the encryption that is set",
    "address": "peers can dial the address of this node",
    "files": "the node files are those of living nodes",
    "peers": "the addresses in them take connections",
}


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    NOT_REACHED = "not reached"  # something before it failed
    NOT_TRIED = "not tried"  # it would write, and --read-only was given


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `fault` names what is wrong (see `faults`) and `cure` says what to do about it;
    both are None where nothing is."""

    check: str
    verdict: Verdict
    found: str
    fault: str | None = None
    cure: str | None = None


def ok(check: str, found: str) -> Finding:
    return Finding(check, Verdict.OK, found)


def not_reached(check: str, because: str) -> Finding:
    """Return the finding of a check that needs what `because`, another check, did not find."""
    return Finding(check, Verdict.NOT_REACHED, f"needs {because}")


def not_tried(check: str, why: str = "--read-only writes nothing") -> Finding:
    return Finding(check, Verdict.NOT_TRIED, why)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the verdict of the whole: fault, warning or ok."""
    verdicts = {finding.verdict for finding in findings}
    return next((bad for bad in (Verdict.FAULT, Verdict.WARNING) if bad in verdicts), Verdict.OK)


def exit_code(findings: Iterable[Finding], *, strict: bool) -> int:
    """Return 0 if all is well, 1 for a fault (when `strict` for a warning, too), 2 for wrong settings."""
    all_found = tuple(findings)
    if any(found.verdict is Verdict.FAULT and found.check == "configuration" for found in all_found):
        return 2
    verdict = worst(all_found)
    return int(verdict is Verdict.FAULT or (strict and verdict is Verdict.WARNING))


def as_json(findings: Iterable[Finding], *, strict: bool) -> dict[str, object]:
    """Return what `doctor --format json` prints; how it may change is said at `VERSION`."""
    all_found = tuple(findings)
    return {
        "version": VERSION,
        "verdict": worst(all_found).value,
        "exit_code": exit_code(all_found, strict=strict),
        "findings": [
            {
                "check": finding.check,
                "verdict": finding.verdict.value,
                "found": finding.found,
                "fault": finding.fault,
                "cure": finding.cure,
            }
            for finding in all_found
        ],
    }
