"""Known services: how a page shows which one it is, and where its WebSocket is. Pure.

Source: the pages and handshakes of real services, or else their source code and documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownService:
    """A service: `mark` is in its page or in the page's headers, or in the answer on `mark_path`.

    `path` is that of its WebSocket, with the query that it needs. If a handshake needs more than
    that (a login, an identifier), `needs` says what.
    """

    name: str
    mark: re.Pattern[str]
    path: str
    subprotocols: tuple[str, ...] = ()
    needs: str = ""
    mark_path: str = "/"


def _known(
    name: str, mark: str, path: str, *subprotocols: str, needs: str = "", mark_path: str = "/"
) -> KnownService:
    return KnownService(
        name=name,
        mark=re.compile(mark, re.IGNORECASE),
        path=path,
        subprotocols=subprotocols,
        needs=needs,
        mark_path=mark_path,
    )


_ACTION_CABLE = ("actioncable-v1-json", "actioncable-unsupported")
#: The more special ones first: noVNC's page is served by websockify, Rails may serve Socket.IO.
KNOWN = (
    _known("Streamlit", r"<title>Streamlit</title>|Copyright \(c\) Streamlit", "/_stcore/stream"),
    _known(
        "Jupyter",
        r"<title>Jupyter|jupyter-config-data|report-uri /api/security/csp-report",
        "/api/events/subscribe",
        needs="a login (a token in the header Authorization); a kernel's WebSocket is"
        " /api/kernels/ID/channels, with the subprotocol v1.kernel.websocket.jupyter.org",
    ),
    _known("Node-RED", r"<title>Node-RED", "/comms"),
    _known("n8n", r"<title>n8n\.io|n8n:config", "/rest/push?pushRef=deployer", needs="a login"),
    _known("Home Assistant", r"<title>Home Assistant</title>|<home-assistant\b", "/api/websocket"),
    _known("Grafana", r"grafanaBootData|<title>Grafana</title>", "/api/live/ws", needs="a login"),
    _known(
        "Cockpit",
        r"cockpit/static/login|/cockpit/@localhost|id=\"cockpit-",
        "/cockpit/socket",
        "cockpit1",
        needs="a login; it answers 403 if Origins in its cockpit.conf lacks the site's address",
    ),
    _known(
        "code-server",
        r"coder-options|vscode-workbench-web-configuration",
        "/?reconnectionToken=deployer&reconnection=false",
        needs="a login",
    ),
    _known("noVNC", r"<title>noVNC</title>|\bnovnc[/_-]|app/ui\.js", "/websockify"),
    _known(
        "Phoenix LiveView", r"data-phx-(?:main|session)|phx-socket=", "/live/websocket?vsn=2.0.0"
    ),
    _known(
        "Action Cable",
        r'name="action-cable-url"|name="csrf-param" content="authenticity_token"',
        "/cable",
        *_ACTION_CABLE,
    ),
    _known("Socket.IO", r"/socket\.io/socket\.io", "/socket.io/?EIO=4&transport=websocket"),
    _known(
        "Gradio",
        r"window\.gradio_config|<gradio-app\b",
        "/queue/join",
        needs="version 3; newer ones use no WebSocket: write upstream",
    ),
    _known(
        "Soketi",
        r"(?s)uwebsockets: \d.*\n\nOK\Z",
        "/app/deployer?protocol=7",
        needs="the key of an app instead of 'deployer', as does Laravel Reverb's",
    ),
    # These have no page of their own: an endpoint shows them.
    _known(
        "Socket.IO",
        r"\"message\":\s*\"Transport unknown\"",
        "/socket.io/?EIO=4&transport=websocket",
        mark_path="/socket.io/",
    ),
    _known(
        "Prosody",
        r"point your WebSocket client to this URL",
        "/xmpp-websocket",
        "xmpp",
        mark_path="/xmpp-websocket",
    ),
)
#: Brokers have no page at all. Mosquitto opens on every path, EMQX and RabbitMQ differ in theirs.
MQTT = _known("an MQTT broker", r"(?!)", "/mqtt", "mqtt")
#: SignalR's hubs have any path, which the page's script names.
_HUB = re.compile(r"""withUrl\(\s*["'`](?P<path>/[^"'`?\s]{1,200})["'`]""")


def by_page(head_and_page: str) -> KnownService | None:
    """Return the service of a page, given with its headers (``name: value``, one on each line)."""
    pages = (each for each in KNOWN if each.mark_path == "/")
    return next((each for each in pages if each.mark.search(head_and_page)), None)


def endpoints() -> Iterator[KnownService]:
    """The services that have no page, but an endpoint that shows them."""
    yield from (each for each in KNOWN if each.mark_path != "/")


def hubs(scripts: str) -> Iterator[KnownService]:
    """The SignalR hubs that scripts connect to."""
    for found in _HUB.finditer(scripts):
        yield KnownService(name="SignalR", mark=_HUB, path=found["path"])


def named_by(path: str) -> Iterator[KnownService]:
    """The known services that a route's `path` is named after, with their paths on that route.

    It leads to theirs (``/socket.io``, ``/_stcore``), or ends with it (``/chat/socket.io``). What a
    handshake on `path` itself would already open is left out.
    """
    own = path.rstrip("/")
    for service in (*KNOWN, MQTT) if own else ():
        bare = service.path.partition("?")[0].rstrip("/")
        at = 0 if f"{bare}/".startswith(f"{own}/") else len(own) - len(bare)
        is_named = bool(bare) and (not at or (at > 0 and own.endswith(bare)))
        target = own[:at] + service.path
        if is_named and (target != path or service.subprotocols):
            yield replace(service, path=target)


def opened_by_page(path: str, subprotocols: tuple[str, ...]) -> KnownService:
    """A WebSocket that the page of an unknown service opens."""
    return KnownService(name="", mark=_HUB, path=path, subprotocols=subprotocols)
