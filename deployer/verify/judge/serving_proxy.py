"""Which proxy serves a site: the one in the playbook, or a different program. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from deployer.model import CheckResult, Finding
from deployer.plan.ports import Listener
from deployer.proxies import PROXIES, ProxyServer
from deployer.sites.model import Site
from deployer.sites.values import used_ports

CHECK_NAME = "serving proxy"


def proxy_checks(sites: Iterable[Site], listeners: Sequence[Listener]) -> tuple[CheckResult, ...]:
    """One result for each site: what listens on its ports, and whether it is its proxy.

    A site on whose ports nothing listens has none: its other checks report that.
    """
    return tuple(each for site in sites for each in _checks(site, listeners))


def _checks(site: Site, listeners: Sequence[Listener]) -> Iterator[CheckResult]:
    proxy = PROXIES[site.proxy]
    ports = sorted(used_ports([site]))
    found = {port: [each for each in listeners if each.port == port] for port in ports}
    served = [port for port in ports if found[port]]
    if not served:
        return
    wrong = [port for port in served if not any(_is(each, proxy) for each in found[port])]
    if wrong:
        others = list(dict.fromkeys(map(_words, found[wrong[-1]])))
        yield _failed(site, proxy, wrong, " and ".join(others))
        return
    own = next(each for each in found[served[-1]] if _is(each, proxy))
    next_to = [each for port in served for each in found[port] if not _is(each, proxy)]
    also = "".join(f"; next to it {_words(each)} on port {each.port}" for each in next_to)
    yield CheckResult(
        site=site.domain,
        name=CHECK_NAME,
        target=_ports(served),
        hop="proxy",
        ok=True,
        detail=f"{_words(own)} serves {_ports(served)}{also}",
    )


def _is(listener: Listener, proxy: ProxyServer) -> bool:
    return proxy.unit in (listener.unit, listener.process)


def _words(listener: Listener) -> str:
    """``HAProxy (process 812 of haproxy.service)``."""
    titles = {each.unit: each.title for each in PROXIES.values()}
    name = titles.get(listener.process, listener.process or "a process")
    of_unit = f" of {listener.unit}.service" if listener.unit else ""
    return f"{name} (process {listener.pid}{of_unit})"


def _failed(site: Site, proxy: ProxyServer, ports: Sequence[int], other: str) -> CheckResult:
    symptom = f"{_ports(ports)} of {site.domain}: {other} serves, not {proxy.title}"
    finding = Finding(
        code="other-proxy",
        hop="proxy",
        symptom=symptom,
        cause=(
            f"The playbook says `proxy: {proxy.name}`, but a different program answers. Handshakes"
            " may pass all the same; the settings of the playbook do not apply to them."
        ),
        fix=(
            "Apply the playbook, which switches back if deployer set up the other proxy; or set"
            " `proxy:` to the one that is meant to serve."
        ),
        evidence=f"{_ports(ports)}: {other}",
    )
    return CheckResult(
        site=site.domain,
        name=CHECK_NAME,
        target=_ports(ports),
        hop="proxy",
        ok=False,
        detail=f"{other} serves {_ports(ports)}, not {proxy.title}",
        finding=finding,
    )


def _ports(ports: Sequence[int]) -> str:
    words = " and ".join(map(str, ports))
    return f"port {words}" if len(ports) == 1 else f"ports {words}"
