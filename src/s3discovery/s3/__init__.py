"""The Bucket on S3: aiohttp carries four verbs, botocore's signer signs them.

`location` says where a bucket is, `wire` what goes over the wire, `refusals` what a refusal means,
`retries` how long to wait; those are pure. `signing` is botocore's part, loaded with the first
request. `route` finds the region and the proxy, `transport` does the I/O, `client` has the verbs.
"""

from s3discovery.s3.client import S3Bucket

__all__ = ["S3Bucket"]
