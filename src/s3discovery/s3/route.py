"""The way to the bucket: in which region it is as far as is known, and through which proxy.

A store that names another region is asked there, once; what then turns out right is kept. What a store says
never leads to another partition of AWS, nor away from an endpoint of one's own.
"""

import logging
import ssl
from collections.abc import Mapping

from s3discovery.errors import (
    AccessDeniedError,
    BucketError,
    ObjectMissingError,
    PreconditionError,
    StoreFaultError,
    UnreachableError,
    WrongRegionError,
)
from s3discovery.network.proxies import Proxy, find_proxy
from s3discovery.network.trust import make_context
from s3discovery.s3 import outages, refusals
from s3discovery.s3.call import Call
from s3discovery.s3.location import Location
from s3discovery.s3.wire import Answer

log = logging.getLogger(__name__)

# Refusals that the bucket's own region alone gives.
_OF_THE_BUCKET = (ObjectMissingError, PreconditionError, AccessDeniedError)
# Failures by which a region shows that it was named wrongly.
_OF_NO_BUCKET = (WrongRegionError, StoreFaultError, UnreachableError)


class Route:
    """The way to one bucket. `environ` names proxies and CAs; raises SettingsError for a wrong proxy."""

    def __init__(self, location: Location, environ: Mapping[str, str]) -> None:
        self.location = location
        self.found_region: str | None = None
        self._environ = environ
        self._proxies: dict[str, Proxy | None] = {}
        self._proxy(location)

    def make_context(self) -> ssl.SSLContext | None:
        """Return what to connect by TLS with, None for the system's.

        Raises SettingsError if the CAs that a variable names cannot be read."""
        proxy = self._proxy(self.location)
        urls = (self.location.root, "" if proxy is None else proxy.url)
        return make_context(self._environ) if any(url.startswith("https:") for url in urls) else None

    def proxy_for(self, call: Call) -> Proxy | None:
        """Return the proxy that `call` goes through."""
        return self._proxy(call.question.location)

    def explain_outage(self, call: Call, error: BaseException, limit_s: float) -> UnreachableError:
        """Return what `error`, which came instead of an answer, stands for."""
        return outages.explain(call.question, error, limit_s=limit_s, proxy=self.proxy_for(call))

    def explain_refusal(self, call: Call, answer: Answer) -> BucketError:
        """Return what `answer`, which is no success, stands for: the store's, or of a proxy before it."""
        proxy = self.proxy_for(call)
        if proxy is not None and call.url.startswith("http:") and outages.is_of_proxy(answer):
            return outages.explain_proxy(call.question, answer.status, proxy)
        return refusals.explain(call.question, answer)

    def leads_on(self, call: Call, refusal: BucketError) -> bool:
        """Send `call` to where the bucket is said to be; True if it is worth asking there."""
        if not isinstance(refusal, WrongRegionError) or call.moved is not None:
            return False
        if call.question.location != self.location:
            call.move(self.location)  # another call has found it meanwhile
            return True
        if self.found_region is not None or refusal.region is None:
            return False
        location = call.question.location.in_region(refusal.region)
        if location is None:
            return False
        call.moved = refusal
        call.move(location)
        return True

    def settle(self, call: Call, refusal: BucketError | None = None) -> None:
        """Stay where `call` was moved to, if its success or `refusal` shows that the bucket is there."""
        if call.moved is None or self.found_region is not None:
            return
        if refusal is not None and not isinstance(refusal, _OF_THE_BUCKET):
            return
        old, self.location = self.location, call.question.location
        self.found_region = self.location.region
        log.warning(
            "bucket found in another region bucket=%r configured=%s found=%s: write %s",
            old.bucket, old.region, self.found_region, _lines(old, self.location),
        )  # fmt: skip

    def verdict(self, call: Call, trouble: BucketError) -> BucketError:
        """Return what to raise in the end: where a move did not help, the refusal that led to it."""
        if call.moved is None or not isinstance(trouble, _OF_NO_BUCKET):
            return trouble
        if isinstance(trouble, StoreFaultError) and trouble.code and trouble.code == call.moved.code:
            return trouble  # refused for the same reason there: the region was not it
        call.moved.__cause__ = trouble
        return call.moved

    def _proxy(self, location: Location) -> Proxy | None:
        if location.root not in self._proxies:
            self._proxies[location.root] = find_proxy(location.root, self._environ)
        return self._proxies[location.root]


def _lines(old: Location, found: Location) -> str:
    """Return the settings that name the place where the bucket was found."""
    if old.wish.endpoint is None:
        return f"s3-bucket-region:{found.region}"
    line = f"s3-endpoint-region:{found.region}"
    return line if old.endpoint == found.endpoint else f"{line} and s3-endpoint:{found.endpoint}"
