"""Where the claim lies, by which nodes agree who starts their cluster."""

import hashlib
from urllib.parse import quote

from s3discovery.settings.config import Settings

_KEY_LIMIT_BYTES = 1024
_ROOTS = (".s3discovery", "_s3discovery")


def claim_key(settings: Settings) -> str:
    """Return the key of the claim: `seed-key`, or else one that file-prefix makes, and lies outside of it.

    Below an empty prefix lies everything: then our own nodes skip the claim, and HiveMQ's log it."""
    if settings.seed_key is not None:
        return settings.seed_key
    prefix = settings.file_prefix
    root = next((root for root in _ROOTS if not prefix or not root.startswith(prefix[: len(root)])), "")
    key = f"{root}/{quote(prefix, safe='')}/seed"
    if len(key.encode()) > _KEY_LIMIT_BYTES:
        # An equals sign: no quoted prefix holds one.
        key = f"{root}/sha256={hashlib.sha256(prefix.encode()).hexdigest()}/seed"
    return key
