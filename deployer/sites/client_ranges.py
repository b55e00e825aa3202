"""The addresses of proxies that stand in front of sites, by the name of their operator.

They are data with a date, not fetched: nothing on the network decides whom a site trusts.
"""

from __future__ import annotations

#: The lists of operators are what was known on this date; they change about once a year.
AS_OF = "2026-11-30"

PRESETS: dict[str, tuple[str, ...]] = {
    # https://www.cloudflare.com/ips/
    "cloudflare": (
        *("173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22"),
        *("141.101.64.0/18", "108.162.192.0/18", "190.93.240.0/20", "188.114.96.0/20"),
        *("197.234.240.0/22", "198.41.128.0/17", "162.158.0.0/15", "104.16.0.0/13"),
        *("104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22", "2400:cb00::/32"),
        *("2606:4700::/32", "2803:f800::/32", "2405:b500::/32", "2405:8100::/32"),
        *("2a06:98c0::/29", "2c0f:f248::/32"),
    ),
    # https://api.fastly.com/public-ip-list
    "fastly": (
        *("23.235.32.0/20", "43.249.72.0/22", "103.244.50.0/24", "103.245.222.0/23"),
        *("103.245.224.0/24", "104.156.80.0/20", "140.248.64.0/18", "140.248.128.0/17"),
        *("146.75.0.0/17", "151.101.0.0/16", "157.52.64.0/18", "167.82.0.0/17"),
        *("167.82.128.0/20", "167.82.160.0/20", "167.82.224.0/20", "172.111.64.0/18"),
        *("185.31.16.0/22", "199.27.72.0/21", "199.232.0.0/16", "2a04:4e40::/32"),
        "2a04:4e42::/32",
    ),
    # RFC 1918 and RFC 4193. Not the loopback address: anyone on the host has it.
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
}


def includes_loopback(ranges: tuple[str, ...]) -> bool:
    """Whether one of the ranges has an address of the host itself."""
    import ipaddress

    own = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    return any(address in ipaddress.ip_network(each) for each in ranges for address in own)
