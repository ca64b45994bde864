"""Every fault that an examination can name, once: how grave it is, what it is, and its cure.

Cures are templates; what stands in braces is filled in with what was found. docs/how-to/doctor.md has
every line of this table, and a test compares them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from s3discovery.doctor.finding import Finding, Verdict

_SHOWN = 800  # characters of a value that a cure shows: some come from outside


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: its name, the check that finds it, its verdict, what it is, and its cure."""

    name: str
    check: str
    verdict: Verdict
    meaning: str
    cure: str


def _fault(name: str, check: str, meaning: str, cure: str) -> Fault:
    return Fault(name, check, Verdict.FAULT, meaning, cure)


def _warning(name: str, check: str, meaning: str, cure: str) -> Fault:
    return Fault(name, check, Verdict.WARNING, meaning, cure)


_ALL = (
    _fault("wrong-setting", "configuration", "A setting is missing or wrong.", "{cure}"),
    _warning("unknown-key", "configuration", "A key means nothing, so its value has no effect.", "{cure}"),
    _warning(
        "doubtful-setting", "configuration", "A setting may be meant otherwise than it is read.", "{cure}"
    ),
    _fault("no-credentials", "credentials", "The source that credentials-type names gives none.", "{cure}"),
    _warning(
        "keys-swapped",
        "credentials",
        "The access key id looks like a secret, and the secret like an access key id.",
        "exchange them where they are set: {source}",
    ),
    _fault(
        "name-not-found",
        "dns",
        "The endpoint's name has no address.",
        "check the spelling of {key}, and that this machine's name server answers (/etc/resolv.conf)",
    ),
    _fault(
        "bucket-in-name-not-found",
        "dns",
        "The endpoint has an address, but not with the bucket's name before it.",
        "write s3-path-style-access:true, or let the name server answer for *.{host}",
    ),
    _fault(
        "port-closed",
        "tcp",
        "The machine answers, but nobody listens at the port.",
        "start the store, or correct the port in s3-endpoint: nobody listens at {place}",
    ),
    _fault(
        "packets-dropped",
        "tcp",
        "Packets are dropped: neither a connection nor a refusal.",
        "let TCP to {place} through (security group, firewall, route, VPC endpoint)",
    ),
    _fault(
        "no-route",
        "tcp",
        "This machine has no way to the address.",
        "give this machine a route to {place} (network interface, gateway, NAT, VPC endpoint)",
    ),
    _fault(
        "proxy-refused",
        "proxy",
        "The proxy does not let through to the endpoint.",
        "let the proxy {proxy} through to {place}, or add {host} to NO_PROXY",
    ),
    _fault(
        "proxy-wants-credentials",
        "proxy",
        "The proxy wants a user and a password, or others.",
        "write user and password into the proxy's URL ({variable}=http://user:password@{proxy})",
    ),
    _fault(
        "proxy-cannot-reach",
        "proxy",
        "The proxy itself has no connection to the endpoint.",
        "look why the proxy {proxy} does not reach {place}, or add {host} to NO_PROXY",
    ),
    _fault(
        "no-proxy",
        "proxy",
        "What is set as proxy does not answer as one.",
        "correct {variable}: what answers at {proxy} is no HTTP proxy",
    ),
    _fault(
        "proxy-silent",
        "proxy",
        "What is set as proxy takes the connection, and then does not answer.",
        "look whether the proxy {proxy} runs and serves this machine, or correct {variable}",
    ),
    _fault(
        "plain-http",
        "tls",
        "The port speaks plain HTTP, and s3-endpoint says https.",
        "write s3-endpoint with http://, or the port where the store speaks TLS",
    ),
    _fault(
        "unknown-ca",
        "tls",
        "No authority that this machine trusts has signed the certificate.",
        "name the file of the CA that signed it in AWS_CA_BUNDLE (or SSL_CERT_FILE)",
    ),
    _fault(
        "wrong-name",
        "tls",
        "The certificate is of another name.",
        "write a name that the certificate holds ({names}) into s3-endpoint, or issue one for {host}",
    ),
    _fault(
        "wrong-name-of-bucket",
        "tls",
        "The certificate holds the endpoint's name, but not with the bucket's name before it.",
        "write s3-path-style-access:true, or issue a certificate that holds *.{host}",
    ),
    _fault(
        "certificate-expired",
        "tls",
        "The certificate is past its end, by this machine's clock.",
        "renew the certificate of {host} (it ended {ended}); if it has been, set this machine's clock",
    ),
    _fault(
        "certificate-not-yet-valid",
        "tls",
        "The certificate is not valid yet, by this machine's clock.",
        "set this machine's clock; if it is right, issue a certificate of {host} that holds today",
    ),
    _warning(
        "certificate-ending",
        "tls",
        "The certificate ends within two weeks.",
        "renew the certificate of {host} before {ends}",
    ),
    _fault(
        "tls-broken",
        "tls",
        "The TLS handshake fails.",
        "check s3-endpoint, and what stands between (a firewall that inspects TLS, an old TLS version)",
    ),
    _fault(
        "port-speaks-tls",
        "store",
        "The port speaks TLS, and s3-endpoint says http.",
        "write s3-endpoint with https://",
    ),
    _fault(
        "not-s3",
        "store",
        "Something answers, but not as S3 does.",
        "write the store's own S3 endpoint into s3-endpoint; {place} is a web server or something else, or "
        "a gateway whose store is down",
    ),
    _fault(
        "needs-path-style",
        "store",
        "The store does not look for the bucket in the host name; with the bucket in the path it answers.",
        "write s3-path-style-access:true",
    ),
    _fault(
        "needs-virtual-host",
        "store",
        "The store does not look for the bucket in the path; with the bucket in the host name it answers.",
        "write s3-path-style-access:false",
    ),
    _fault(
        "unknown-access-key",
        "store",
        "The store does not know the access key id.",
        "set credentials-access-key-id (or what {source} gives) to a key of this store: {key} is none",
    ),
    _fault(
        "wrong-secret",
        "store",
        "The secret does not belong to the access key id.",
        "set the secret that was issued with access key id {key} (it comes from {source})",
    ),
    _fault(
        "token-expired",
        "store",
        "The session token has expired.",
        "fetch new temporary credentials, or use a credentials-type that renews them ({source} does not)",
    ),
    _fault(
        "wrong-token",
        "store",
        "The session token is not of this access key id, or not whole.",
        "set credentials-session-token to the one issued with {key}, or to nothing for permanent keys",
    ),
    _fault(
        "credentials-refused",
        "store",
        "The store refuses the credentials for another reason.",
        "ask the owner of the account, or issue new credentials",
    ),
    _fault(
        "throttled",
        "store",
        "The store asks for fewer requests.",
        "try again later; if it goes on, raise poll-interval or the store's limit",
    ),
    _fault("store-fault", "store", "The store fails by itself.", "look at the store's own log"),
    _fault(
        "no-answer",
        "store",
        "A connection is made, and then no answer comes.",
        "look at the store, and at what stands between",
    ),
    _fault("proxy-unusable", "store", "The proxy on the way cannot be used.", "{cure}"),
    _fault(
        "refused-otherwise",
        "store",
        "The store refuses for a reason of its own.",
        "look up {code} in the store's documentation; check file-prefix, cluster-id and s3-endpoint",
    ),
    _fault(
        "clock-refused",
        "clock",
        "The store refuses requests for their time.",
        "set this machine's clock (NTP), or the store's",
    ),
    _warning(
        "clock-skewed",
        "clock",
        "This machine's clock differs from the store's. s3discovery corrects that for itself.",
        "set this machine's clock (NTP), or the store's: HiveMQ nodes and other programs do not correct it",
    ),
    _fault(
        "wrong-region",
        "region",
        "The bucket is in another region than is set.",
        "write {line}",
    ),
    _warning(
        "region-followed",
        "region",
        "The bucket is in another region than is set; s3discovery has found it there.",
        "write {line}: every start asks in the wrong region first",
    ),
    _fault(
        "unknown-region",
        "region",
        "The store refuses the region, and does not say which is right.",
        "set s3-bucket-region (s3-endpoint-region where that is set) to the region of the bucket",
    ),
    _fault(
        "bucket-missing",
        "bucket",
        "There is no bucket of this name.",
        "create bucket {bucket}, or correct s3-bucket-name",
    ),
    _fault(
        "bucket-missing-or-denied",
        "bucket",
        "The store answers 403 to every question, so it does not say whether the bucket exists.",
        "either create bucket {bucket} (or correct s3-bucket-name), or allow s3:ListBucket, s3:GetObject, "
        "s3:PutObject and s3:DeleteObject on it: ask its owner which",
    ),
    _fault(
        "keys-changed",
        "list",
        "The store does not keep keys as they are written, so no node finds another's file.",
        "set a file-prefix without a leading or doubled '/' and without '\\': the store changes such keys",
    ),
    _fault(
        "list-stale",
        "listed",
        "What was just written is not in the listing, or not as it was written.",
        "use a store, or a release of it, whose listings show every write at once: nodes find each other by "
        "them",
    ),
    _fault(
        "list-denied",
        "list",
        "The bucket exists, and may not be listed.",
        "allow {action} on {resource} to these credentials",
    ),
    _fault(
        "delete-denied",
        "delete",
        "Objects may not be deleted, so a leaving node leaves its file.",
        "allow {action} on {resource} to these credentials",
    ),
    _fault(
        "put-denied",
        "put",
        "Objects may not be written, so this node cannot register.",
        "allow {action} on {resource} to these credentials",
    ),
    _fault(
        "get-denied",
        "get",
        "Objects may not be read, so this node cannot see the others.",
        "allow {action} on {resource} to these credentials",
    ),
    _fault(
        "explicit-deny",
        "list",
        "A policy forbids it with an explicit Deny, which no Allow outweighs.",
        "remove the Deny of {action} from the {policy}: an Allow elsewhere does not help",
    ),
    _fault(
        "key-denied",
        "put",
        "The KMS key of the encryption may not be used.",
        "allow {action} on the KMS key to these credentials, in its key policy or by IAM",
    ),
    _fault("write-failed", "put", "Writing fails for another reason.", "{cure}"),
    _fault("read-failed", "get", "Reading fails for another reason.", "{cure}"),
    _fault("delete-failed", "delete", "Deleting fails for another reason.", "{cure}"),
    _warning(
        "probe-left",
        "delete",
        "The probe could not be taken away again.",
        "delete {key} by hand; no node counts it",
    ),
    _warning(
        "conditions-ignored",
        "conditions",
        "The store ignores conditions, so that one node's write may hide another's.",
        "use a release of the store that honours If-Match and If-None-Match, or live with it: {cost}",
    ),
    _warning(
        "conditions-refused",
        "conditions",
        "The store refuses conditions that hold.",
        "use a release of the store that honours If-Match and If-None-Match, or live with it: nodes write "
        "without",
    ),
    _warning(
        "metadata-lost",
        "metadata",
        "The store does not keep user metadata as written.",
        "let the store and what stands between keep x-amz-meta-*: broker:amqtt finds no peers without, and "
        "two processes with one cluster-id are not told apart",
    ),
    _fault(
        "encryption-refused",
        "encryption",
        "The store refuses the encryption that is set.",
        "correct {keys}, or let the store know this encryption",
    ),
    _fault("no-address", "address", "No address was found that peers could dial.", "set external-address"),
    _fault(
        "own-name-not-found",
        "address",
        "The name that peers shall dial has no address, at least on this machine.",
        "let the name servers of all nodes answer for {host}, or set external-address to an IP address",
    ),
    _warning(
        "loopback-address",
        "address",
        "Only this machine itself reaches the address.",
        "set external-address to an address that the machines of the other nodes reach",
    ),
    _warning(
        "unreachable-kind",
        "address",
        "The address is one that other machines mostly do not reach (link-local, Docker's bridge).",
        "set external-address to an address that the machines of the other nodes reach, or use the host's "
        "network",
    ),
    _warning(
        "private-and-public",
        "address",
        "This node's address is private and others' are public, or the other way round.",
        "use addresses of one network for all nodes: set external-address here or there",
    ),
    _warning(
        "address-taken",
        "address",
        "A living member has this very address under another cluster-id.",
        "if {ids} is not this node itself, or one that has just been restarted, give each its own address or "
        "port (external-address, bind-port)",
    ),
    _warning(
        "id-taken",
        "address",
        "A living member has this cluster-id at another address.",
        "if that is not this node before its restart, give each node a cluster-id of its own",
    ),
    _warning(
        "files-unreadable",
        "files",
        "Objects below the prefix are no node files; nodes skip them.",
        "delete them if they are leftovers, or set a file-prefix that only node files have",
    ),
    _fault(
        "files-denied",
        "files",
        "Node files are there that may not be read.",
        "allow s3:GetObject on {resource} to these credentials, and kms:Decrypt if they are encrypted",
    ),
    _warning(
        "address-twice",
        "files",
        "Two living members name one address.",
        "stop one of them or give each its own address or port; after a restart under a new id the old file "
        "goes when it expires",
    ),
    _warning(
        "incarnation-twice",
        "files",
        "Two files were written by one process, or one id by two processes.",
        "give each process a cluster-id of its own; a file left under an old id goes when it expires",
    ),
    _warning(
        "peers-unreachable",
        "peers",
        "Addresses of living members take no connection from here.",
        "let TCP from this machine through to them (security group, firewall), start their brokers, or "
        "correct external-address there",
    ),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ALL}


def report(name: str, found: str, *, check: str | None = None, **values: str) -> Finding:
    """Return the finding for the fault `name`; `values` fill its cure, `check` is another than usual."""
    fault = FAULTS[name]
    shown = {key: text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..." for key, text in values.items()}
    return Finding(check or fault.check, fault.verdict, found, name, fault.cure.format(**shown))
