"""The members as DNS: for HiveMQ's DNS discovery, and for whatever else looks its peers up by name.

`zone` says what is true (pure), `responder` what goes over the wire, `serving` keeps both in step with
discovery.
"""

from s3discovery.dns.serving import serving

__all__ = ["serving"]
