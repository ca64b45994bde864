"""The cluster over HTTP: health, members, status, events, metrics, and a page for people.

`watching` notes what happens, `api` answers programs, `guard` keeps strangers out, `openapi` describes
it all, `page/` is for people. Imported only where `http-port` is set.
"""

from s3discovery.http.serving import serving

__all__ = ["serving"]
