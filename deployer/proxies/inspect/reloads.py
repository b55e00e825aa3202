"""Whether a proxy runs with its current files: reloads that failed, and proxies that stopped."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.proxies import PROXIES
from deployer.proxies.inspect.logs import Line, latest, lines
from deployer.proxies.inspect.model import Fault, Place, ProxyState, fault, place_of

#: The symptoms of a proxy that runs with an earlier configuration.
_OF_STALE = frozenset(
    {
        *("upgrade-not-forwarded", "wrong-route", "page-instead", "bad-gateway", "redirected"),
        *("slash-redirect", "https-redirect", "redirect-loop", "redirect-missing", "proxy-down"),
        *("origin-blocked", "origin-open", "h2c-tunnel", "tls-not-spoken", "tls-failed"),
        *("tls-wrong-name", "tls-expired", "tls-untrusted", "tls-incomplete-chain", "idle-cut"),
        *("host-rewritten", "port-lost", "http-1.0-upstream", "upstream-scheme", "timeout"),
        *("tls-expires-soon", "forwarded-for-appended", "unreachable-from-here"),
    }
)
_OF_STOPPED = frozenset({"proxy-down", "timeout", "unreachable-from-here", "connection-dropped"})
_SLACK_S = 1.5  # logs have whole seconds
_MOMENT_S = 0.05


def faults(state: ProxyState) -> Iterator[Fault]:
    """Reloads that failed, and files that the proxy rejects."""
    yield from _stopped_at_reload(state)
    yield from _rejected(state)
    yield from _not_taken(state)


def hints(state: ProxyState) -> Iterator[Fault]:
    """Files that are newer than the running configuration: not reloaded, or without success."""
    since = state.accepted_reload_s_ago
    if not state.is_running or since is None:
        return
    newer = [
        each
        for each in state.config
        if each.changed_s_ago is not None and each.changed_s_ago < since - _MOMENT_S
    ]
    if not newer:
        return
    proxy = PROXIES[state.proxy]
    first = min(newer, key=lambda each: each.changed_s_ago or 0.0)
    yield fault(
        Place(first.path),
        code="reload-not-taken",
        explains=_OF_STALE,
        cause=f"{first.path} changed {_ago(first.changed_s_ago)}, but {proxy.title} still runs the"
        f" configuration it loaded {_ago(since)}: it was not reloaded, or the reload was rejected.",
        fix=f"systemctl reload {proxy.unit}, then check its log.",
        severity="warning",
        tell=f"{first.path} is newer than the running configuration: reload, and check again.",
    )


def stopped(state: ProxyState) -> Iterator[Fault]:
    """A proxy that does not run; if its log or its own test says why, that comes first."""
    if state.is_running or state.unit_state in ("", "active"):
        return
    proxy = PROXIES[state.proxy]
    tested = ", and its own test accepts its files" if state.test_ok else ""
    yield fault(
        None,
        code="proxy-down",
        explains=_OF_STOPPED,
        cause=f"{proxy.title} does not run: systemd reports {proxy.unit} as {state.unit_state}"
        f"{tested}.",
        fix=f"systemctl start {proxy.unit}; journalctl -u {proxy.unit} -n 20 shows why it stopped.",
        is_certain=True,
    )


# --- a proxy that stopped -------------------------------------------------------------------------


def _stopped_at_reload(state: ProxyState) -> Iterator[Fault]:
    """A proxy that exits when it cannot listen after a reload, though its own test passed."""
    proxy = PROXIES[state.proxy]
    if not proxy.traits.exit_line or state.is_running:
        return
    bound = latest(state, proxy.traits.bind_error)
    reloaded = latest(state, proxy.traits.reload_line)
    ended = latest(state, proxy.traits.exit_line)
    if bound is None or reloaded is None or ended is None or not _is_after(bound, reloaded):
        return
    address = _address(state, bound)
    listen = proxy.words.listen_line.format(address=address)
    yield fault(
        _listen_place(state, address),
        code=proxy.words.gone,
        explains=_OF_STOPPED,
        cause=f"{proxy.title} exited {_ago(ended.age_s)}, at a reload: it could not listen on"
        f" {address}, where another process listens, and does not keep running then. Its own test"
        f" {'passes' if state.test_ok else 'does not detect that'}.",
        fix=f"Stop the process that listens on {address} (ss -ltnp), or remove that line; then"
        f" systemctl start {proxy.unit}. A reload does not start it.",
        directive=listen,
        stands_alone=True,
    )


def _is_after(line: Line, other: Line) -> bool:
    return line.age_s is None or other.age_s is None or line.age_s <= other.age_s + _SLACK_S


def _listen_place(state: ProxyState, address: str) -> Place:
    """The line that listens on an address, by its whole text or its port."""
    port = address.rpartition(":")[2]
    wanted = PROXIES[state.proxy].traits.listen_line.replace("{port}", re.escape(port))
    host = address.rpartition(":")[0]
    places = []
    for each in state.config:
        for found in re.finditer(wanted, each.text, re.MULTILINE | re.IGNORECASE):
            has_host = bool(host) and host in found.group(0)
            places.append((has_host, place_of(each, found)))
    if not places:
        return Place()
    _, place = max(places, key=lambda place: place[0])
    return place


# --- files that are rejected ----------------------------------------------------------------------


def _rejected(state: ProxyState) -> Iterator[Fault]:
    """What the proxy's own test rejects, unless the reader of its configuration reports that."""
    proxy = PROXIES[state.proxy]
    if state.test_ok is not False or proxy.traits.test_error is None:
        return
    last = state.test_output.strip().splitlines()[-1:]
    message, place = last[0] if last else "no reason given", Place()
    found = proxy.traits.test_error.search(state.test_output)
    if found is not None:
        message = found["message"].strip() or message
        place = Place(found["file"], int(found["line"]))
    now = (
        f"{proxy.title} keeps running with the configuration it loaded before"
        if state.is_running
        else f"{proxy.title} does not run, and cannot start"
    )
    yield fault(
        place,
        code="config-invalid",
        explains=_OF_STALE,
        cause=f"{proxy.title}'s own test rejects its files ({message}): {now}.",
        fix=f"Fix what the test reports, then reload {proxy.title}.",
        stands_alone=True,
    )


def _not_taken(state: ProxyState) -> Iterator[Fault]:
    """A reload of the running proxy that failed although its own test had passed."""
    proxy, since = PROXIES[state.proxy], state.accepted_reload_s_ago
    if not state.is_running or since is None or proxy.traits.exit_line:
        return
    failed: Line | None = None
    for line in lines(state):
        is_its_own = line.pid in state.main_pids
        is_since = line.age_s is not None and line.age_s <= since + _SLACK_S
        if is_its_own and is_since and re.search(proxy.traits.bind_error, line.text):
            failed = line
    if failed is None or _has_listener(state, _address(state, failed)):
        return
    address = _address(state, failed)
    yield fault(
        _listen_place(state, address),
        code="reload-not-taken",
        explains=_OF_STALE,
        cause=f"{proxy.title} was reloaded {_ago(failed.age_s)} and could not listen on {address},"
        f" where another process listens. It keeps the configuration it loaded {_ago(since)}, and"
        " the reload itself reported no failure.",
        fix=f"Stop the process that listens on {address} (ss -ltnp), or remove that line; then"
        f" reload {proxy.title}.",
        directive=proxy.words.listen_line.format(address=address),
        stands_alone=True,
    )


def _address(state: ProxyState, line: Line) -> str:
    found = re.search(PROXIES[state.proxy].traits.bind_error, line.text)
    return found.group(1) if found else ""


def _has_listener(state: ProxyState, address: str) -> bool:
    """Whether a later reload could bind the address after all."""
    host, _, port = address.rpartition(":")
    wanted = {address, f"0.0.0.0:{port}" if host in ("", "*") else address}  # compared
    return bool(wanted & set(state.listeners))


def _ago(age_s: float | None) -> str:
    if age_s is None:
        return "earlier"
    if age_s < 120:
        return f"{max(age_s, 0):.0f} s ago"
    if age_s < 7200:
        return f"{age_s / 60:.0f} min ago"
    return f"{age_s / 3600:.0f} h ago"
