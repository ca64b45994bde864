"""The address that peers dial to reach this node: as set, or found out.

What is set by hand is taken as it is. What is found out must be of use to other machines: loopback,
link-local, wildcard and Docker's own bridge are refused. The system is asked through `Host`.
"""

import fcntl
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from s3discovery.errors import AddressError, Problem, SettingsError
from s3discovery.ip import ip_of
from s3discovery.node import NO_METADATA, Address
from s3discovery.settings.config import Settings
from s3discovery.settings.hosts import is_wildcard

log = logging.getLogger(__name__)

ASK_LIMIT_S = 1.0  # these services are on the same machine: who is not there in a second is not there
ANSWER_LIMIT_BYTES = 64 * 1024
ECS_VARIABLE = "ECS_CONTAINER_METADATA_URI_V4"
POD_VARIABLES = ("POD_IP", "MY_POD_IP", "K8S_POD_IP")
EC2_METADATA_URL = "http://169.254.169.254"
EC2_SIGNS = ("sys_vendor", "bios_vendor", "product_uuid")  # files below /sys/class/dmi/id
# Addresses that documentation uses (RFC 5737, RFC 3849): no packet is sent, only a route looked up.
OUTWARD_ADDRESSES = ("192.0.2.1", "2001:db8::1")
DOCKER_BRIDGE = "docker0"
_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface


class Host(Protocol):
    """The machine, as far as it knows about its own addresses. Nothing here raises: None is "no answer"."""

    def read_text(self, path: str) -> str | None:
        """Return the text of a small file of the kernel."""

    def source_address(self, target: str) -> str | None:
        """Return the local IP address from which packets to the IP address `target` would leave."""

    def interface_address(self, interface: str) -> str | None:
        """Return the IPv4 address of an interface."""

    async def ask(
        self, url: str, *, method: str = "GET", headers: Mapping[str, str] = NO_METADATA
    ) -> str | None:
        """Return the body of a successful HTTP answer within a second."""


@dataclass(frozen=True, slots=True)
class Located:
    """The own address, and who named it: a setting, a variable, a service."""

    address: Address
    origin: str


async def find_own_address(
    settings: Settings, environ: Mapping[str, str], *, port: int | None = None, host: Host | None = None
) -> Address:
    """Return what peers dial; raises as `locate_self` does."""
    return (await locate_self(settings, environ, port=port, host=host)).address


async def locate_self(
    settings: Settings, environ: Mapping[str, str], *, port: int | None = None, host: Host | None = None
) -> Located:
    """Return what peers dial: external-address, else bind-address, else an address found out.

    `port` is the port that the broker really listens at, if it is not bind-port. Raises AddressError
    if nothing was found, SettingsError if there is no port."""
    number = settings.external_port or port or settings.bind_port
    if number == 0:
        cure = "write the port that peers dial, or external-port: the broker did not name the one it took"
        raise SettingsError([Problem("bind-port", "0", cure)])
    if settings.external_address is not None:
        return Located(Address(settings.external_address, number), "external-address")
    bound = settings.bind_address
    if bound is not None and not is_wildcard(bound):
        return Located(Address(bound, number), "bind-address")
    origin, found = await _find_out(SystemHost() if host is None else host, environ, bound)
    return Located(Address(found, number), origin)


async def _find_out(host: Host, environ: Mapping[str, str], bound: str | None) -> tuple[str, str]:
    """Return who named an address that peers can dial, and the address."""
    refused = []
    async for origin, found in _candidates(host, environ):
        reason = _refusal(host, found, bound)
        if reason is None:
            log.info("own address found address=%r origin=%s", found, origin)
            return origin, found
        refused.append(f"{origin} gave {found!r}, {reason}")
    seen = "; ".join(refused) or "nothing on this machine named one"
    raise AddressError(f"no address found that peers could dial ({seen}); set external-address")


async def _candidates(host: Host, environ: Mapping[str, str]) -> AsyncIterator[tuple[str, str]]:
    """Yield who named an address and the address, the surest first."""
    if uri := environ.get(ECS_VARIABLE):
        for found in _read_ecs(await host.ask(uri)):
            yield "ECS metadata", found
    for variable in POD_VARIABLES:
        if found := environ.get(variable, "").strip():
            yield f"variable {variable}", found
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true" and _is_ec2(host):
        base = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or EC2_METADATA_URL
        if found := await _ask_ec2(host, base):
            yield "EC2 metadata", found
    for target in OUTWARD_ADDRESSES:
        if found := host.source_address(target) or "":
            yield "outward interface", found


def _read_ecs(body: str | None) -> list[str]:
    """Return the addresses of a task's container; those behind Docker's bridge cannot be dialled."""
    try:
        networks = json.loads(body or "{}").get("Networks") or []
        return [
            str(address)
            for family in ("IPv4Addresses", "IPv6Addresses")
            for network in networks
            if network.get("NetworkMode") != "bridge"
            for address in (network.get(family) or [])[:1]
            if address
        ]
    except (ValueError, AttributeError, TypeError):
        log.warning("ECS metadata not understood body=%.200r", body)
        return []


def _is_ec2(host: Host) -> bool:
    """Tell whether the firmware says EC2; elsewhere the metadata address may be anybody's, or a time-out."""
    texts = [(host.read_text(f"/sys/class/dmi/id/{sign}") or "").strip().lower() for sign in EC2_SIGNS]
    return any(text.startswith("ec2") or "amazon" in text for text in texts)


async def _ask_ec2(host: Host, base: str) -> str:
    """Ask by version 2 of the metadata service, which wants a token; by version 1 where there is none."""
    base = base.rstrip("/")
    token = await host.ask(
        f"{base}/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    )
    headers = {"X-aws-ec2-metadata-token": token.strip()} if token else NO_METADATA
    for name in ("local-ipv4", "ipv6"):
        if found := await host.ask(f"{base}/latest/meta-data/{name}", headers=headers):
            return found.strip()
    return ""


def _refusal(host: Host, found: str, bound: str | None) -> str | None:
    """Return why peers cannot dial an address that was found out, or None if they can."""
    ip = ip_of(found)
    if ip is None:
        return "which is no IP address"
    kinds = {
        "loopback": ip.is_loopback,
        "a wildcard": ip.is_unspecified,
        "link-local": ip.is_link_local,
        "multicast": ip.is_multicast,
        f"the bridge {DOCKER_BRIDGE}": found == host.interface_address(DOCKER_BRIDGE),
        f"but bind-address {bound} takes IPv4 alone": ip.version == 6 and bound == "0.0.0.0",  # noqa: S104
    }
    return next((kind for kind, is_so in kinds.items() if is_so), None)


class SystemHost:
    """The machine this process runs on."""

    def read_text(self, path: str) -> str | None:
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def source_address(self, target: str) -> str | None:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                return str(probe.getsockname()[0])
        except OSError:
            return None

    def interface_address(self, interface: str) -> str | None:
        request = struct.pack("256s", interface.encode()[:15])
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
        except OSError:
            return None
        return socket.inet_ntoa(answer[20:24])

    async def ask(
        self, url: str, *, method: str = "GET", headers: Mapping[str, str] = NO_METADATA
    ) -> str | None:
        import aiohttp

        limit = aiohttp.ClientTimeout(total=ASK_LIMIT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.request(method, url, headers=headers, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    log.debug("metadata refused url=%r status=%s", url, answer.status)
                    return None
                body = b""
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > ANSWER_LIMIT_BYTES:
                        log.debug("metadata too long url=%r limit_bytes=%s", url, ANSWER_LIMIT_BYTES)
                        return None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ValueError: not a URL
            log.debug("metadata unreachable url=%r error=%r", url, error)
            return None
        return body.decode("utf-8", errors="replace")
