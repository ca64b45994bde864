"""The claim: the one object by which nodes agree who founds the cluster. Its bytes.

What follows from it is decided in `founding`. It is hostile until it is decoded: whoever may write to the
bucket may have written it.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum

from s3discovery.errors import CodecError
from s3discovery.node import check_cluster_id, is_incarnation

CLAIM_LIMIT = 96 * 1024  # bytes; a claim with all whom it can name, and the longest of ids, has no more
JOINERS_LIMIT = 8
LEAVERS_LIMIT = 32
_VERSION = 1
_FOUNDING = re.compile(r"[0-9a-f]{16}", re.ASCII)
_ID_LIMIT_BYTES = 1024  # what S3 takes as a key


class Stage(StrEnum):
    """How far the cluster has come; none goes back, but for a claim that is taken over."""

    CLAIMED = "claimed"  # the owner may found, and perhaps has; nobody may join yet
    FOUNDED = "founded"  # it has; the first to join writes himself into the claim before he does
    ALONE = "alone"  # the same, for so long that its data counts: only its own id founds again
    FORMED = "formed"  # somebody has joined: nobody founds again


@dataclass(frozen=True, slots=True, order=True)
class Process:
    """One process among all that ever used a cluster id. Sorts by start, as far as clocks agree."""

    incarnation: str
    cluster_id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Who founds, and what has become of it.

    `founding` names this attempt among all; a take-over is another. `joiners` have said that they
    join before anybody had, `leavers` that they leave for good. `nonce` differs with every write, so that no
    ETag comes twice."""

    founding: str
    owner: Process
    stage: Stage = Stage.CLAIMED
    joiners: tuple[Process, ...] = ()
    nonce: str = ""
    leavers: tuple[Process, ...] = ()

    def named(self) -> tuple[Process, ...]:
        """Return the owner and the joiners."""
        return (self.owner, *self.joiners)


def encode(claim: Claim) -> bytes:
    """Return the body of the object."""
    said = {
        "version": _VERSION,
        "nonce": claim.nonce,
        "founding": claim.founding,
        "stage": claim.stage.value,
        "owner": _said_of(claim.owner),
        "joiners": [_said_of(joiner) for joiner in claim.joiners],
        "leavers": [_said_of(leaver) for leaver in claim.leavers],
    }
    return json.dumps(said, ensure_ascii=False).encode()


def decode(body: bytes) -> Claim:
    """Return what a body says; raises CodecError for whatever is no claim."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CodecError("is no JSON") from error
    if not isinstance(said, dict):
        raise CodecError("is no JSON object")
    if said.get("version") != _VERSION:
        raise CodecError(f"has the version {_shown(said.get('version'))}, not {_VERSION}")
    stage = said.get("stage")
    if not isinstance(stage, str) or stage not in list(Stage):
        raise CodecError(f"has the unknown stage {_shown(stage)}")
    return Claim(
        founding=_matching(_FOUNDING, said.get("founding"), "founding"),
        owner=_process(said.get("owner")),
        stage=Stage(stage),
        joiners=_processes(said.get("joiners"), "joiners", JOINERS_LIMIT),
        nonce=_matching(_FOUNDING, said.get("nonce"), "nonce"),
        leavers=_processes(said.get("leavers", []), "leavers", LEAVERS_LIMIT),  # earlier versions: none
    )


def _said_of(process: Process) -> dict[str, str]:
    return {"cluster_id": process.cluster_id, "incarnation": process.incarnation}


def _processes(said: object, name: str, limit: int) -> tuple[Process, ...]:
    if not isinstance(said, list) or len(said) > limit:
        raise CodecError(f"has no list of {name}, or too long a one")
    return tuple(_process(each) for each in said)


def _process(said: object) -> Process:
    if not isinstance(said, dict):
        raise CodecError(f"names the process {_shown(said)}, which is none")
    cluster_id = said.get("cluster_id")
    if not isinstance(cluster_id, str):
        raise CodecError(f"names the cluster id {_shown(cluster_id)}, which is none")
    check_cluster_id(cluster_id)
    if len(cluster_id.encode()) > _ID_LIMIT_BYTES:
        raise CodecError(f"names a cluster id of more than {_ID_LIMIT_BYTES} bytes")
    incarnation = said.get("incarnation")
    if not isinstance(incarnation, str) or not is_incarnation(incarnation):
        raise CodecError(f"names the incarnation {_shown(incarnation)}, which is none")
    return Process(incarnation, cluster_id)


def _matching(form: re.Pattern[str], text: object, name: str) -> str:
    if not isinstance(text, str) or form.fullmatch(text) is None:
        raise CodecError(f"has the {name} {_shown(text)}, which is none")
    return text


def _shown(value: object) -> str:
    return repr(value)[:60]
