"""Whose objects are and how they are encrypted: from settings to the headers that say so, verb by verb.

Each header goes out with exactly the verbs for which S3 takes it; all of them are signed. No checksums
are among them: no store needs one for these verbs, and several refuse those they do not know.
"""

import base64
import hashlib
from dataclasses import dataclass
from urllib.parse import quote

from s3discovery.settings.config import Secret, Settings

_SSE = "x-amz-server-side-encryption"
_TAG_PLAIN = "/:@"  # readable, and free of any meaning in a query


@dataclass(frozen=True, slots=True)
class CustomerKey:
    """A key of SSE-C, in base64; the digest tells the store whether it arrived whole."""

    key: Secret
    md5: str

    @classmethod
    def of(cls, raw: bytes) -> "CustomerKey":
        """Make it of the 32 bytes themselves."""
        digest = hashlib.md5(raw, usedforsecurity=False).digest()
        return cls(Secret(base64.b64encode(raw).decode()), base64.b64encode(digest).decode())


@dataclass(frozen=True, slots=True)
class Ownership:
    """What is sent beside the objects; None and empty is not sent."""

    encryption: str | None = None
    kms_key_id: str | None = None
    bucket_key: bool | None = None
    customer_key: CustomerKey | None = None
    acl: str | None = None
    requester_pays: bool = False
    expected_bucket_owner: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, settings: Settings, customer_key: CustomerKey | None = None) -> "Ownership":
        """Return what the settings say; the key of sse-customer-key-file is read by the caller."""
        return cls(
            encryption=settings.server_side_encryption,
            kms_key_id=settings.kms_key_id,
            bucket_key=settings.bucket_key,
            customer_key=customer_key,
            acl=settings.acl,
            requester_pays=settings.requester_pays,
            expected_bucket_owner=settings.expected_bucket_owner,
            tags=settings.object_tags or (),
        )

    def headers(self, verb: str) -> dict[str, str]:
        """Return the headers for `verb`: list, get, put or delete."""
        found = self._of_every_verb()
        if verb in ("get", "put"):
            found |= self._of_customer_key()
        if verb == "put":
            found |= self._of_writes()
        return found

    def _of_every_verb(self) -> dict[str, str]:
        found = {"x-amz-request-payer": "requester"} if self.requester_pays else {}
        if self.expected_bucket_owner is not None:
            found["x-amz-expected-bucket-owner"] = self.expected_bucket_owner
        return found

    def _of_customer_key(self) -> dict[str, str]:
        if self.customer_key is None:
            return {}
        return {
            f"{_SSE}-customer-algorithm": "AES256",
            f"{_SSE}-customer-key": self.customer_key.key.reveal(),
            f"{_SSE}-customer-key-MD5": self.customer_key.md5,
        }

    def _of_writes(self) -> dict[str, str]:
        found = {
            _SSE: self.encryption,
            f"{_SSE}-aws-kms-key-id": self.kms_key_id,
            f"{_SSE}-bucket-key-enabled": None if self.bucket_key is None else str(self.bucket_key).lower(),
            "x-amz-acl": self.acl,
            "x-amz-tagging": "&".join(
                f"{quote(key, safe=_TAG_PLAIN)}={quote(value, safe=_TAG_PLAIN)}" for key, value in self.tags
            ),
        }
        return {name: value for name, value in found.items() if value}


NO_OWNERSHIP = Ownership()
