"""What a running node or observer knows at one moment: documents, troubles and the journal are made of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

from s3discovery.clock import Clock
from s3discovery.discovery import Discovery, Status
from s3discovery.membership import is_late
from s3discovery.node import Member
from s3discovery.running import ClusterState
from s3discovery.topology import Topology, topology

SLOW_S = 1.0  # a listing of hundreds of members takes a tenth of that


def listing_s(status: Status, monotonic_s: float) -> float:
    """Return how long the last listing took, or one that is under way and has lasted longer by now."""
    return max(status.listing_s, 0.0 if status.asked_s is None else monotonic_s - status.asked_s)


@dataclass(frozen=True)
class Moment:
    """What is known at one moment. Times: `now_s` is S3's clock, `monotonic_s` our own.

    `cluster_state`: see `Running`; `expiration_s` 0 means that nobody expires."""

    members: frozenset[Member]
    own: Member | None
    status: Status
    now_s: float | None
    monotonic_s: float
    expiration_s: float
    update_interval_s: float
    poll_interval_s: float
    cluster_state: ClusterState | None
    bucket: str
    prefix: str

    @classmethod
    def of(cls, discovery: Discovery, clock: Clock, cluster_state: ClusterState | None = None) -> Self:
        """Return what `discovery` knows now."""
        settings = discovery.settings
        return cls(
            members=discovery.members,
            own=discovery.own,
            status=discovery.status,
            now_s=discovery.now_s,
            monotonic_s=clock.monotonic_s(),
            expiration_s=settings.file_expiration_s,
            update_interval_s=settings.update_interval_s,
            poll_interval_s=settings.poll_interval_s,
            cluster_state=cluster_state,
            bucket=settings.bucket_name,
            prefix=settings.file_prefix,
        )

    @cached_property
    def topology(self) -> Topology:
        """What cluster there really is; found out once, as that takes milliseconds among hundreds."""
        return topology(self.members)

    @property
    def listed_s_ago(self) -> float | None:
        """Seconds since the last complete listing; None before the first."""
        return None if self.status.listed_s is None else self.monotonic_s - self.status.listed_s

    @property
    def listing_s(self) -> float:
        """Seconds that the last listing took, or one that is under way and has lasted longer by now."""
        return listing_s(self.status, self.monotonic_s)

    @property
    def is_slow(self) -> bool:
        """Whether the store answers late, or not at all so far."""
        return self.listing_s >= SLOW_S

    def age_s(self, member: Member) -> float | None:
        """Seconds since the file of `member` was written; None while that or S3's time is unknown."""
        return (
            None if self.now_s is None or not member.modified_s else max(0.0, self.now_s - member.modified_s)
        )

    def expires_in_s(self, member: Member) -> float | None:
        """Seconds until the file of `member` expires; None if it never does, or while that is unknown."""
        age_s = self.age_s(member)
        return None if age_s is None or self.expiration_s <= 0 else self.expiration_s - age_s

    def is_late(self, member: Member) -> bool:
        """Tell whether `member` had missed a refresh at the last complete listing, if its interval is ours.

        What was written since, or could not be in an outage, nobody knows."""
        age_s, listed_s_ago = self.age_s(member), self.listed_s_ago
        if age_s is None or listed_s_ago is None:
            return False
        return is_late(
            age_s=age_s - listed_s_ago,
            update_interval_s=self.update_interval_s,
            poll_interval_s=self.poll_interval_s,
        )
