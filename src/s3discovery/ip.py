"""IP addresses: whether a text is one, and what it stands for. Pure."""

import ipaddress

IP = ipaddress.IPv4Address | ipaddress.IPv6Address


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
