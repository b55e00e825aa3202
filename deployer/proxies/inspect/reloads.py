"""Whether what runs is what the files say: reloads that were not taken, proxies that they ended."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.proxies.inspect.logs import Line, latest, lines
from deployer.proxies.inspect.model import Fault, ProxyState

#: What a proxy that runs with an earlier configuration may look like.
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
_OF_NOBODY = frozenset({"proxy-down", "timeout", "unreachable-from-here", "connection-dropped"})
_NAMES = {"nginx": "nginx", "apache": "Apache", "haproxy": "HAProxy"}
_UNITS = {"nginx": "nginx", "apache": "apache2", "haproxy": "haproxy"}
_CANNOT_BIND = {
    "nginx": r"\[emerg\].* bind\(\) to (\S+) failed",
    "apache": r"AH00072: make_sock: could not bind to address (\S+)",
    "haproxy": r"\[ALERT\].*cannot bind socket.*?\[([^\]\s]+)\]\.?$",
}
_GRACEFUL = r"AH00493|AH00494|SIGUSR1 received|Reloading (?:apache2|The Apache)|Reloading httpd"
_SLACK_S = 1.5  # logs have whole seconds
_MOMENT_S = 0.05


def faults(state: ProxyState) -> Iterator[Fault]:
    """What is known of reloads that went wrong, and of files that the proxy does not take."""
    yield from _gone(state)
    yield from _refused(state)
    yield from _not_taken(state)


def hints(state: ProxyState) -> Iterator[Fault]:
    """Files that are younger than what runs: somebody has not reloaded, or not with success."""
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
    first = min(newer, key=lambda each: each.changed_s_ago or 0.0)
    yield Fault(
        code="reload-not-taken",
        explains=_OF_STALE,
        cause=f"{first.path} has been changed {_ago(first.changed_s_ago)}, and"
        f" {_NAMES[state.proxy]} runs with what it read {_ago(since)}: nobody has reloaded it"
        " since, or it did not take that.",
        fix=f"systemctl reload {_UNITS[state.proxy]}, and look at its log afterwards.",
        file=first.path,
        severity="warning",
        tell=f"{first.path} is younger than what runs: reload, and check again.",
    )


def stopped(state: ProxyState) -> Iterator[Fault]:
    """A proxy that does not run; where its log or its own check tells why, that comes before."""
    if state.is_running or state.unit_state in ("", "active"):
        return
    name, unit = _NAMES[state.proxy], _UNITS[state.proxy]
    sound = ", and its own check accepts its files" if state.test_ok else ""
    yield Fault(
        code="proxy-down",
        explains=_OF_NOBODY,
        cause=f"{name} does not run: systemd says {state.unit_state} of {unit}{sound}.",
        fix=f"systemctl start {unit}; journalctl -u {unit} -n 20 says why it ended.",
        is_certain=True,
    )


# --- a proxy that is gone -------------------------------------------------------------------------


def _gone(state: ProxyState) -> Iterator[Fault]:
    """Apache ends when it cannot listen after a reload, though its check has passed."""
    if state.proxy != "apache" or state.is_running:
        return
    bound = latest(state, _CANNOT_BIND["apache"])
    reloaded = latest(state, _GRACEFUL)
    ended = latest(state, r"AH00019|no listening sockets available|Main process exited")
    if bound is None or reloaded is None or ended is None or not _is_after(bound, reloaded):
        return
    address = _address(state, bound)
    file, line = _listen_line(state, address)
    yield Fault(
        code="apache-gone",
        explains=_OF_NOBODY,
        cause=f"Apache ended {_ago(ended.age_s)}, at a reload: it could not listen on {address},"
        " where something else does, and ends then instead of going on. Its own check"
        f" {'passes' if state.test_ok else 'does not see that'}.",
        fix=f"End what listens on {address} (ss -ltnp), or remove the Listen line; then start"
        " Apache: systemctl start apache2. A reload does not bring it back.",
        directive=f"Listen {address}",
        file=file,
        line=line,
        stands_alone=True,
    )


def _is_after(line: Line, other: Line) -> bool:
    return line.age_s is None or other.age_s is None or line.age_s <= other.age_s + _SLACK_S


def _listen_line(state: ProxyState, address: str) -> tuple[str, int]:
    """Where the configuration asks for an address, by its whole text or its port."""
    port = address.rpartition(":")[2]
    wanted = {
        "apache": r"^\s*Listen\s+(?:\S*:)?{port}\b",
        "nginx": r"^[^#\n]*\blisten\s+(?:\S*:)?{port}\b",
        "haproxy": r"^\s*bind\s+\S*:{port}\b",
    }[state.proxy].replace("{port}", re.escape(port))
    host = address.rpartition(":")[0]
    places = []
    for each in state.config:
        for found in re.finditer(wanted, each.text, re.MULTILINE | re.IGNORECASE):
            has_host = bool(host) and host in found.group(0)
            places.append((has_host, each.path, each.text.count("\n", 0, found.end()) + 1))
    if not places:
        return "", 0
    _, path, line = max(places, key=lambda place: place[0])
    return path, line


# --- files that are not taken ---------------------------------------------------------------------

_APACHE_ERROR = re.compile(r"Syntax error on line (\d+) of ([^:\n]+):\n?(.*)")
_HAPROXY_ERROR = re.compile(r"\[ALERT\].*?(?:parsing )?\[([^\]:]+):(\d+)\] ?: ?(.*)")


def _refused(state: ProxyState) -> Iterator[Fault]:
    """What the proxy's own check refuses; nginx's is told with its configuration."""
    if state.test_ok is not False or state.proxy == "nginx":
        return
    file, line, words = "", 0, state.test_output.strip().splitlines()[-1:]
    said = words[0] if words else "no reason given"
    in_apache = _APACHE_ERROR.search(state.test_output)
    in_haproxy = _HAPROXY_ERROR.search(state.test_output)
    if state.proxy == "apache" and in_apache:
        file, line = in_apache.group(2), int(in_apache.group(1))
        said = in_apache.group(3).strip() or said
    elif state.proxy == "haproxy" and in_haproxy:
        file, line, said = in_haproxy.group(1), int(in_haproxy.group(2)), in_haproxy.group(3)
    name = _NAMES[state.proxy]
    now = (
        f"{name} goes on with what it has read before"
        if state.is_running
        else f"{name} does not run, and cannot start"
    )
    yield Fault(
        code="config-invalid",
        explains=_OF_STALE,
        cause=f"{name}'s own check refuses its files ({said}): {now}.",
        fix=f"Mend what the check names, then reload {name}.",
        file=file,
        line=line,
        stands_alone=True,
    )


def _not_taken(state: ProxyState) -> Iterator[Fault]:
    """A reload that the check had passed, and that failed all the same, of what runs now."""
    since = state.accepted_reload_s_ago
    if not state.is_running or since is None or state.proxy == "apache":
        return
    failed: Line | None = None
    for line in lines(state):
        is_its_own = line.pid in state.main_pids
        is_since = line.age_s is not None and line.age_s <= since + _SLACK_S
        if is_its_own and is_since and re.search(_CANNOT_BIND[state.proxy], line.text):
            failed = line
    if failed is None or _has_listener(state, _address(state, failed)):
        return
    address, name = _address(state, failed), _NAMES[state.proxy]
    file, line_number = _listen_line(state, address)
    yield Fault(
        code="reload-not-taken",
        explains=_OF_STALE,
        cause=f"{name} was reloaded {_ago(failed.age_s)} and could not listen on {address}, where"
        f" something else does. It goes on with what it read {_ago(since)}, and the reload itself"
        " reported no failure.",
        fix=f"End what listens on {address} (ss -ltnp), or remove that line; then reload {name}.",
        directive=f"bind {address}" if state.proxy == "haproxy" else f"listen {address};",
        file=file,
        line=line_number,
        stands_alone=True,
    )


def _address(state: ProxyState, line: Line) -> str:
    found = re.search(_CANNOT_BIND[state.proxy], line.text)
    return found.group(1) if found else ""


def _has_listener(state: ProxyState, address: str) -> bool:
    """Whether a later reload has taken the address after all."""
    host, _, port = address.rpartition(":")
    wanted = {address, f"0.0.0.0:{port}" if host in ("", "*") else address}  # compared
    return bool(wanted & set(state.listeners))


def _ago(age_s: float | None) -> str:
    if age_s is None:
        return "before"
    if age_s < 120:
        return f"{max(age_s, 0):.0f} s ago"
    if age_s < 7200:
        return f"{age_s / 60:.0f} min ago"
    return f"{age_s / 3600:.0f} h ago"
