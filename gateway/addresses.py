"""Which network addresses an upstream may have: a guard against requests forged onto the inside network."""

from __future__ import annotations

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL = (ipaddress.ip_network("fec0::/10"), ipaddress.ip_network("64:ff9b:1::/48"))
"""Private as well: site-local (RFC 3879) and local translation (RFC 8215)."""
_NEVER = (
    # Where clouds hand out the machine's own credentials; no model lives there.
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("fe80::/10"),
    ipaddress.ip_network("fd00:ec2::254/128"),
    ipaddress.ip_network("100.100.100.200/32"),
    ipaddress.ip_network("192.0.0.0/24"),
    # Not addresses of a host.
    ipaddress.ip_network("0.0.0.0/8"),
    ipaddress.ip_network("::/128"),
    ipaddress.ip_network("255.255.255.255/32"),
)


def is_loopback(host: str) -> bool:
    """Whether `host` can only mean this machine."""
    if host == "localhost":
        return True
    address = literal_address(host)
    return address is not None and address.is_loopback


def literal_address(host: str) -> Address | None:
    """The address that `host` spells; None when it is a name.

    Also what the C library would read as an address: `127.1`, `0x7f000001`, `2130706433`.
    """
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def check_address(address: Address, *, allow_private: bool) -> None:
    """Raises PermissionError, with the reason, for an address that an upstream may not have."""
    inner = _embedded(address)
    if any(inner in network for network in _NEVER) or inner.is_multicast:
        raise PermissionError("link-local, metadata and group addresses are never an upstream")
    if not allow_private and (not inner.is_global or any(inner in network for network in _LOCAL)):
        raise PermissionError("the address is private; say `allow_private = true` if the provider really is inside")


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one only wraps: what the packets reach in the end."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        wrapped = address.ipv4_mapped or address.sixtofour
        if wrapped is not None:
            return wrapped
    return address
