"""IP addresses: whether a text is one, what it stands for, and whether others can dial it. Pure."""

import ipaddress

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")  # RFC 1122: never a destination


def ip_of(host: str) -> IP | None:
    """Return the IP address that `host` is, without brackets; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def unmapped(ip: IP) -> IP:
    """Return the IPv4 address that an IPv6 one stands for (::ffff:10.0.0.1), and any other without its
    interface, which means nothing to another machine."""
    if ip.version == 4:
        return ip
    return ip.ipv4_mapped or ipaddress.IPv6Address(int(ip))


def unfit(ip: IP, *, with_loopback: bool) -> str | None:
    """Return what kind of address it is that no peer may dial; None if one may."""
    if ip.is_loopback:  # first, since ::1 is within a reserved network
        return None if with_loopback else "loopback"
    kinds = {
        "unspecified": ip.is_unspecified or ip in _THIS_NETWORK,
        "multicast": ip.is_multicast,
        "link-local": ip.is_link_local,
        "reserved": ip.is_reserved,
    }
    return next((kind for kind, is_so in kinds.items() if is_so), None)
