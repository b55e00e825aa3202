"""Which limit of a proxy is reached: places for processes, threads, connections, open files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from deployer.proxies.apache import config as apache_config
from deployer.proxies.inspect.logs import Line, latest
from deployer.proxies.inspect.model import Fault, ProxyState

#: How clients see a proxy that takes no more of them.
_OF_FULL = frozenset(
    {
        *("timeout", "service-hangs", "connection-dropped", "proxy-down", "tls-stalled"),
        *("tls-failed", "bad-gateway", "unreachable-from-here", "not-http"),
    }
)
_RECENT_S = 300.0
_SLACK_S = 0.5  # logs have whole seconds
_NEARLY = 0.95


def faults(state: ProxyState) -> Iterator[Fault]:
    """The limits that are reached now, or were in the last minutes, with their numbers."""
    if not state.is_running:
        return
    if state.proxy == "apache":
        yield from _scoreboard(state)
        yield from _threads(state)
    elif state.proxy == "nginx":
        yield from _worker_connections(state)
    else:
        yield from _maxconn(state)
    yield from _files(state)


def _recently_s(state: ProxyState) -> float:
    """The last minutes, but of what runs now alone: what was full before may have been mended."""
    since = state.accepted_reload_s_ago
    since = since if since is not None else state.started_s_ago
    return _RECENT_S if since is None else min(_RECENT_S, since + _SLACK_S)


def _logged(state: ProxyState, pattern: str) -> Line | None:
    """The newest line of one of the processes that run now: logs have whole seconds only."""
    return latest(state, pattern, within_s=_recently_s(state), by_running=True)


# --- Apache ---------------------------------------------------------------------------------------


def _number(state: ProxyState, name: str) -> tuple[int | None, str, int]:
    found = apache_config.config_of(state).setting(name)
    if found is None or not found.words or not found.words[0].isdigit():
        return None, "", 0
    return int(found.words[0]), found.file, found.line


def _server_limit(state: ProxyState) -> tuple[int, str, int]:
    number, file, line = _number(state, "serverlimit")
    if number is not None:
        return number, file, line
    is_prefork = "mpm_prefork" in apache_config.config_of(state).modules
    return (256 if is_prefork else 16), "", 0


def _scoreboard(state: ProxyState) -> Iterator[Fault]:
    """Children that finish old connections hold the places that new ones would need."""
    children = [each for each in state.processes if each.pid not in state.main_pids]
    leaving = [each for each in children if each.is_leaving]
    limit, file, line = _server_limit(state)
    is_full = len(leaving) >= limit
    logged = _logged(state, "AH03490|AH00485|AH00159")
    if not is_full and (len(leaving) < max(2, limit // 2)):
        return
    words = (
        f"Apache has room for {limit} processes (ServerLimit{'' if file else ', its default'}), and"
        f" {len(leaving)} of earlier configurations stay for the sake of {state.websockets}"
        " WebSockets"
    )
    if is_full or (logged is not None and len(leaving) == len(children)):
        yield Fault(
            code="scoreboard-full",
            explains=_OF_FULL,
            cause=f"{words}: none is left to take new connections, so they hang.",
            fix="systemctl restart apache2 ends those connections, and Apache answers again; raise"
            " ServerLimit, and reload less often.",
            directive=f"ServerLimit {max(16, limit * 4)}",
            file=file,
            line=line,
            stands_alone=True,
        )
    else:
        yield Fault(
            code="scoreboard-full",
            explains=_OF_FULL,
            cause=f"{words}: after {limit - len(leaving)} more reloads, Apache hangs.",
            fix="Raise ServerLimit, and reload less often.",
            directive=f"ServerLimit {max(16, limit * 4)}",
            file=file,
            line=line,
            severity="warning",
            stands_alone=True,
        )


def _threads(state: ProxyState) -> Iterator[Fault]:
    """Each WebSocket holds a thread (in prefork: a process) for as long as it is open."""
    most, file, line = _number(state, "maxrequestworkers")
    if most is None:
        most, file, line = _number(state, "maxclients")
    most = most if most is not None else 400
    logged = _logged(state, "AH00484|AH00161|reached MaxRequestWorkers")
    is_full = state.websockets >= most
    if not is_full and (logged is None or state.websockets < _NEARLY * most):
        return
    yield Fault(
        code="threads-exhausted",
        explains=_OF_FULL,
        cause=f"Apache may work on {most} requests at once (MaxRequestWorkers), and"
        f" {state.websockets} WebSockets hold that many threads: everything else waits, pages too.",
        fix="Raise MaxRequestWorkers, and ServerLimit with it (times ThreadsPerChild, it must be as"
        " much); then restart Apache.",
        directive=f"MaxRequestWorkers {most * 4}",
        file=file,
        line=line,
        stands_alone=True,
    )


# --- nginx ----------------------------------------------------------------------------------------


def _worker_connections(state: ProxyState) -> Iterator[Fault]:
    file, line, number = "", 0, 512
    for each in state.config:
        for found in re.finditer(r"^[^#\n]*?\bworker_connections\s+(\d+)", each.text, re.MULTILINE):
            file, number = each.path, int(found.group(1))
            line = each.text.count("\n", 0, found.end()) + 1
    logged = _logged(state, r"\d+ worker_connections are not enough")
    workers = [each for each in state.processes if "worker process" in each.title]
    taking = [each for each in workers if not each.is_leaving]
    room = number * max(1, len(taking))
    if logged is None and 2 * state.websockets < _NEARLY * room:
        return
    yield Fault(
        code="connections-exhausted",
        explains=_OF_FULL,
        cause=f"Each of nginx's {max(1, len(taking))} workers has room for {number} connections"
        f" (worker_connections), and a WebSocket takes two: {state.websockets} are open"
        + (", and new ones were refused a moment ago." if logged is not None else "."),
        fix="Raise worker_connections, and worker_rlimit_nofile with it; then reload nginx.",
        directive=f"worker_connections {max(4096, number * 4)};",
        file=file,
        line=line,
        severity="error" if logged is not None else "warning",
        stands_alone=True,
    )


# --- HAProxy --------------------------------------------------------------------------------------


def haproxy_info(state: ProxyState) -> dict[str, str]:
    """``show info`` as names and values; empty where HAProxy was not asked."""
    text = state.dump.partition("# show info\n")[2].partition("\n# show stat")[0]
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs if value}


def haproxy_rows(state: ProxyState) -> list[dict[str, str]]:
    """``show stat``: a row for each frontend, server and backend."""
    text = state.dump.partition("# show stat -1 7 -1\n")[2].lstrip()
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return [row for row in rows if row.get("svname") and None not in row.values()]


def _maxconn(state: ProxyState) -> Iterator[Fault]:
    info = haproxy_info(state)
    current, most = info.get("CurrConns", ""), info.get("Maxconn", "")
    if current.isdigit() and most.isdigit() and int(current) >= max(1, int(most)):
        file, line = _haproxy_line(state, r"^\s*maxconn\s+\d+", "global")
        yield Fault(
            code="connections-exhausted",
            explains=_OF_FULL,
            cause=f"HAProxy takes {most} connections in all (maxconn of the section global), and"
            f" has {current}: who comes now waits, without a line in any log.",
            fix="Raise maxconn in the section global; two files a connection must be allowed.",
            directive=f"maxconn {int(most) * 4}",
            file=file,
            line=line,
            stands_alone=True,
        )
    for row in haproxy_rows(state):
        limit, now = row.get("slim", ""), row.get("scur", "")
        waiting = row.get("qcur", "") or "0"
        is_full = limit.isdigit() and now.isdigit() and int(now) >= int(limit) > 0
        if not is_full or row.get("svname") == "BACKEND":
            continue
        is_frontend = row["svname"] == "FRONTEND"
        if is_frontend and most == limit:
            continue  # the limit of all, which is told above
        what = f"frontend {row['pxname']}" if is_frontend else f"{row['pxname']}/{row['svname']}"
        pattern = (
            r"^\s*maxconn\s+\d+" if is_frontend else rf"^\s*server\s+{re.escape(row['svname'])}\s"
        )
        file, line = _haproxy_line(state, pattern, row["pxname"])
        yield Fault(
            code="connections-exhausted",
            explains=_OF_FULL,
            cause=f"{what} takes {limit} connections at once (maxconn), and has {now};"
            f" {waiting} requests wait in its queue, and get 503 when their time is over.",
            fix="Raise or remove that maxconn: a WebSocket keeps its place for as long as it is"
            " open.",
            directive=f"maxconn {int(limit) * 10}",
            file=file,
            line=line,
            stands_alone=True,
        )


def _haproxy_line(state: ProxyState, pattern: str, section: str) -> tuple[str, int]:
    """The line of a section, ``global`` or a proxy's name."""
    heading = re.compile(r"^(global|defaults|frontend|backend|listen|\w[\w-]*)\b\s*(\S*)")
    for each in state.config:
        inside = ""
        for number, line in enumerate(each.text.splitlines(), 1):
            found = heading.match(line)
            if found:
                inside = "global" if found.group(1) == "global" else found.group(2)
            elif inside == section and re.search(pattern, line):
                return each.path, number
    return "", 0


# --- open files -----------------------------------------------------------------------------------


def _files(state: ProxyState) -> Iterator[Fault]:
    fullest = max(
        (each for each in state.processes if each.files_limit and each.open_files is not None),
        key=lambda each: (each.open_files or 0) / (each.files_limit or 1),
        default=None,
    )
    logged = _logged(state, r"\(24: |Too many open files|AH0\d+:.*EMFILE")
    share = (fullest.open_files or 0) / (fullest.files_limit or 1) if fullest is not None else 0.0
    if logged is None and share < _NEARLY:
        return
    about = (
        f"process {fullest.pid} has {fullest.open_files} files open and may have"
        f" {fullest.files_limit}"
        if fullest is not None
        else "its log says so"
    )
    mend = {
        "nginx": "worker_rlimit_nofile 65536;",
        "apache": "LimitNOFILE=65536 (systemctl edit apache2)",
        "haproxy": "LimitNOFILE=65536 (systemctl edit haproxy)",
    }[state.proxy]
    yield Fault(
        code="files-exhausted",
        explains=_OF_FULL,
        cause=f"The limit of open files is reached: {about}; a WebSocket takes two.",
        fix=f"Raise the limit: {mend}.",
        directive=mend,
        severity="error" if logged is not None else "warning",
        stands_alone=True,
    )
