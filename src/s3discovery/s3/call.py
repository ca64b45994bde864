"""One request and what has become of it."""

from dataclasses import dataclass, field, replace

from s3discovery.errors import BucketError, WrongRegionError
from s3discovery.s3.location import Location
from s3discovery.s3.refusals import Question

REFUSAL_LIMIT = 64 * 2**10  # bytes of an error document that are read


@dataclass(slots=True)
class Call:
    """One request and what has become of it.

    `sent` counts how often its head went out; `unsure` is set once an attempt may have been carried
    out although no answer came. `moved` is the refusal that sent it to another region."""

    question: Question
    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)  # may hold a key of SSE-C
    body: bytes = b""
    limit: int = REFUSAL_LIMIT
    signed_at_s: float = 0.0
    unsure: bool = False
    sent: int = 0
    time_corrected: bool = False
    trouble: BucketError | None = None
    moved: WrongRegionError | None = None

    def move(self, location: Location) -> None:
        """Ask the same of the bucket at another place."""
        old = self.question.location
        self.url = location.base + self.url.removeprefix(old.base)
        self.question = replace(self.question, location=location)
