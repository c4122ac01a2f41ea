"""Addresses of callers, as their connections tell them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address


def ip_of(address: str) -> IPv4Address | IPv6Address | None:
    """The IP address, or None for what is none. IPv4 in IPv6 clothes counts as what it is."""
    try:
        ip = ip_address(address)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip
