"""What the agent reports of hand-made Apache and HAProxy configurations, and what that shows."""

from __future__ import annotations

import shlex

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from deployer.proxies.inspect import Inspection, faults, inspection_from_json, served
from deployer.proxies.inspect.state import certain
from tests.support.agent.process import BOOTSTRAP, AgentProcess
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab

_SITE = """\
<VirtualHost *:80>
    ServerName chat.example
    ProxyPass "/" "http://127.0.0.1:3000/"
    ProxyPass "/ws" "http://127.0.0.1:3000/ws" upgrade=websocket
</VirtualHost>
"""
_HAPROXY = """\
global
    stats socket /run/haproxy/admin.sock mode 660 level admin
    log /dev/log local0
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend web
    bind 127.0.0.1:8080
    use_backend %[req.hdr(host),lower,map(/etc/haproxy/hosts.map)]
backend chat
    timeout tunnel 1h
    server app 127.0.0.1:3000
"""
_SETUP = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -q apache2 haproxy >/dev/null
a2enmod -q proxy_http >/dev/null
cat >/etc/apache2/sites-available/chat.conf <<'END'
{_SITE}END
a2ensite -q chat >/dev/null
cat >/etc/haproxy/haproxy.cfg <<'END'
{_HAPROXY}END
echo 'chat.example:8080 chat' >/etc/haproxy/hosts.map
systemctl restart apache2 haproxy
"""
#: A reload that cannot listen, and then more requests than the end of a log has room for.
_REFUSED = """
sed -i 's/bind 127.0.0.1:8080/&,127.0.0.1:2222/' /etc/haproxy/haproxy.cfg
systemd-run -q --collect --unit=taker python3 -c '
import socket, time
taken = socket.create_server(("127.0.0.1", 2222))
time.sleep(300)'
timeout 300 sh -c 'until ss -Hltn "sport = 2222" | grep -q .; do sleep 0.1; done'
haproxy -c -q -f /etc/haproxy/haproxy.cfg
systemctl reload haproxy || true
timeout 300 sh -c 'until journalctl -u haproxy | grep -q "cannot bind"; do sleep 0.1; done'
timeout 20 python3 -c '
import http.client, time
for _ in range(250):
    while True:
        try:
            asked = http.client.HTTPConnection("127.0.0.1", 8080, timeout=5)
            asked.request("GET", "/")
            asked.getresponse()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)'
"""


@pytest.fixture(scope="module")
def proxies(shared_lab: Lab) -> LabHost:
    host = shared_lab.hosts[0]
    host.sh(_SETUP, timeout_s=PATIENCE_S)
    return host


def _inspected(argv: list[str]) -> Inspection:
    agent = AgentProcess(argv, {})
    reply = agent.ask("inspect", proxies=["apache", "haproxy"])
    agent.end()
    return inspection_from_json(reply)


def _argv(host: LabHost, *before: str) -> list[str]:
    """The agent on `host`, as root or as the user that `before` switches to."""
    return [*host.ssh_command(), shlex.join([*before, "python3", "-I", "-c", BOOTSTRAP])]


def test_apache_is_asked_for_its_whole_configuration_and_not_touched(proxies: LabHost) -> None:
    before = proxies.sh("ls -lR --time-style=full-iso /etc/apache2; pgrep apache2")

    state = _inspected(_argv(proxies)).of("apache")

    assert state is not None
    assert state.test_ok is True
    assert "# In file: /etc/apache2/sites-enabled/chat.conf" in state.dump
    first = faults(state, name="chat.example", port=80, path="/ws", tls=False)[0]
    assert (first.code, first.where) == (
        "proxypass-order",
        "/etc/apache2/sites-enabled/chat.conf:3",
    )
    assert proxies.sh("ls -lR --time-style=full-iso /etc/apache2; pgrep apache2") == before


def test_haproxy_is_read_with_its_maps_and_counts(proxies: LabHost) -> None:
    state = _inspected(_argv(proxies)).of("haproxy")

    assert state is not None
    assert "Maxconn: " in state.dump
    way = served(state, name="chat.example", port=8080, path="/ws", tls=False)
    assert way is not None
    assert [str(each) for each in way.upstreams] == ["http://127.0.0.1:3000"]
    assert way.idle_timeout_s == 3600


def test_without_root_what_is_missing_is_reported(proxies: LabHost) -> None:
    unprivileged = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

    inspection = _inspected(_argv(proxies, *unprivileged))

    assert any("without root rights" in note for note in inspection.notes)
    state = inspection.of("apache")
    assert state is not None
    assert state.version
    assert {each.open_files for each in state.processes} == {None}


def test_a_failed_reload_is_found_behind_many_requests(proxies: LabHost) -> None:
    proxies.sh(_REFUSED)

    state = _inspected(_argv(proxies)).of("haproxy")

    assert state is not None
    (found,) = (fault for fault in certain(state) if fault.code == "reload-not-taken")
    assert "127.0.0.1:2222" in found.cause
    assert found.line == _HAPROXY[: _HAPROXY.index("bind ")].count("\n") + 1
