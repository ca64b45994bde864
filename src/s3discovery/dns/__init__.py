"""The members as DNS: for HiveMQ's DNS discovery, and for whatever else looks its peers up by name.

`zone` says what is true (pure), `responder` what goes over the wire; `following`, with the `directory` of
host names, keeps both in step with discovery. `datagrams` and `streams` are how it is asked, within `rates`,
at the sockets of `listening`; `serving` puts them together.
"""

from s3discovery.dns.serving import serving

__all__ = ["serving"]
