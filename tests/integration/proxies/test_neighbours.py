"""Sites that are in no playbook, on a host as people set it up by hand: no commit breaks them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.paths import PROGRAMS
from tests.support.programs.backends import PORTS
from tests.support.runs import Ran, deployer, write_playbook

pytestmark = pytest.mark.lab

_PLAYBOOK = """\
- hosts: all
  become: true
{more}
  sites:
    - domain: own.example.com
      proxy: {proxy}
      tls: {{issuer: none}}
      routes:
        - path: /ws
          websocket: http://127.0.0.1:{port}
"""
_GOOD = PORTS["good"]
#: Hand-made sites over several files and includes, with a default server and a WebSocket.
_FILES = {
    "/etc/nginx/conf.d/wiki.conf": (
        'server { listen 80; server_name wiki.example.com; return 200 "wiki\\n"; }\n'
        "include /srv/sites/*.conf;\n"
    ),
    "/srv/sites/intern.conf": (
        'server { listen 8080; server_name intern.example.com; return 200 "intern\\n"; }\n'
    ),
    "/etc/nginx/sites-available/shop": f"""
server {{
    listen 80;
    server_name shop.example.com www.shop.example.com;
    location / {{ return 301 https://elsewhere.example.com$request_uri; }}
    location /live {{
        proxy_pass http://127.0.0.1:{_GOOD};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }}
}}
""",
    "/etc/nginx/sites-available/default": (
        'server { listen 80 default_server; server_name _; return 200 "any name\\n"; }\n'
    ),
}
_NAMES = ("wiki.example.com", "intern.example.com", "shop.example.com", "www.shop.example.com")


@pytest.fixture(scope="module")
def made(shared_lab: Lab) -> Iterator[LabHost]:
    """A host whose nginx someone set up by hand."""
    host = shared_lab.hosts[0]
    host.sh("apt-get install -qq -y nginx >/dev/null 2>&1; mkdir -p /srv/sites")
    for path, text in _FILES.items():
        host.exec(["tee", path], stdin=text)
    host.sh("ln -sf /etc/nginx/sites-available/shop /etc/nginx/sites-enabled/shop")
    host.exec(["tee", "/root/backends.py"], stdin=(PROGRAMS / "backends.py").read_text())
    host.sh("systemd-run --quiet --unit=backends python3 /root/backends.py")
    host.sh("nginx -t -q && systemctl restart nginx")
    return host


@pytest.fixture
def project(shared_lab: Lab, made: LabHost, workdir: Path) -> Path:
    """A project whose site the nginx of the host serves, next to the others."""
    write(workdir, shared_lab, "nginx")
    ran = deployer("apply", "site.yml", "--yes")
    assert ran.code == 0, ran
    assert others(made) == _AS_BEFORE
    return workdir


def write(folder: Path, lab: Lab, proxy: str, more: str = "") -> None:
    write_playbook(folder, _PLAYBOOK.format(proxy=proxy, port=_GOOD, more=more), lab)


_AS_BEFORE = ["200 wiki", "200 intern", "301", "301", "200 any name"]


#: Prints what each name answers at each port: the status, and the page if there is one.
_ASKING = """
import http.client, sys
for word in sys.argv[1:]:
    name, _, port = word.rpartition(":")
    line = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    try:
        line.request("GET", "/", headers={"Host": name})
        answer = line.getresponse()
        page = answer.read().decode().strip() if answer.status == 200 else ""
        print(answer.status, page)
    except OSError as error:
        print(type(error).__name__)
"""


def others(host: LabHost) -> list[str]:
    """What the hand-made sites answer."""
    places = [f"{name}:{8080 if name.startswith('intern') else 80}" for name in _NAMES]
    done = host.exec(["python3", "-c", _ASKING, *places, "any:80"])
    return [line.strip() for line in done.stdout.splitlines()]


def failing(ran: Ran) -> dict[str, str]:
    """The symptoms of broken neighbours, by name."""
    return {
        each["site"]: each["symptom"]
        for each in ran.document["findings"]
        if each["code"] == "neighbour-broken"
    }


def test_a_switch_that_would_remove_sites_is_refused(
    shared_lab: Lab, made: LabHost, project: Path
) -> None:
    write(project, shared_lab, "haproxy")
    ran = deployer("plan", "site.yml")
    assert ran.code == 3, ran
    assert "5 to remove" in ran.out, ran  # with the default server
    assert "would remove 4 names" in ran.out, ran
    for name in _NAMES:
        assert f"name {name}" in ran.out, ran
    assert "/srv/sites/intern.conf:1" in ran.out, ran
    assert "Nothing was changed." in ran.out, ran
    ran = deployer("apply", "site.yml", "--yes", "--displace", ",".join(_NAMES[:3]))
    assert ran.code == 3, ran
    assert "would remove 1 name " in ran.out, ran
    assert others(made) == _AS_BEFORE

    agreed = f"  displaces: [{', '.join(_NAMES)}]"
    write(project, shared_lab, "haproxy", agreed)
    ran = deployer("plan", "site.yml", "--out", "switch.plan")
    assert ran.code == 0, ran
    ran = deployer("apply", "switch.plan", "--yes", "--json")
    assert ran.code == 0, ran
    assert ran.document["hosts"]["web1"]["state"] == "confirmed"

    # The playbook names a different proxy than the one that serves.
    write(project, shared_lab, "nginx")
    ran = deployer("verify", "site.yml", "--no-public", "--json")
    assert ran.code == 3, ran
    assert [each["code"] for each in ran.document["findings"]] == ["other-proxy"], ran
    assert "HAProxy (process " in ran.out, ran

    write(project, shared_lab, "haproxy", agreed)
    ran = deployer("rollback", "site.yml", "--yes")
    assert ran.code == 0, ran
    assert others(made) == _AS_BEFORE


#: Breaks four names in four ways: nginx reads it before the files of the others.
_IN_FRONT = f"""\
server {{ listen 80; server_name wiki.example.com; return 404; }}
server {{
    listen 8080 ssl;
    server_name new.example.com;
    ssl_certificate /etc/nginx/t.pem;
    ssl_certificate_key /etc/nginx/t.pem;
    return 204;
}}
server {{
    listen 80;
    server_name shop.example.com;
    return 301 https://elsewhere.example.com$request_uri;
}}
server {{
    listen 80;
    server_name www.shop.example.com;
    location / {{ return 301 https://own.example.com/; }}
    location /live {{
        proxy_pass http://127.0.0.1:{_GOOD};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }}
}}
"""
_APP = """\
server { listen 80; server_name app.example.com; location / { proxy_pass http://127.0.0.1:8085; } }
"""
_BROKEN = {
    "wiki.example.com": (
        "http://wiki.example.com/ answered 200 before this change, and answered 404 after it"
    ),
    "intern.example.com": (
        "http://intern.example.com:8080/ answered 200 before this change, and answered 400 after it"
    ),
    "shop.example.com": (
        "ws://shop.example.com/live opened a WebSocket (101) before this change, and answered 301"
        " to https://elsewhere.example.com/live after it"
    ),
    "www.shop.example.com": (
        "http://www.shop.example.com/ answered 301 to https://elsewhere.example.com/ before this"
        " change, and answered 301 to https://own.example.com/ after it"
    ),
}


def test_what_a_rollback_cannot_restore_is_named(
    shared_lab: Lab, made: LabHost, project: Path
) -> None:
    task = "  tasks: [{command: {cmd: systemctl stop wiki, removes: /root/wiki.py}}]"
    script = "import http.server as h; h.HTTPServer(('', 8085), h.SimpleHTTPRequestHandler)"
    made.exec(["tee", "/root/wiki.py"], stdin=f"{script}.serve_forever()\n")
    made.exec(["tee", "/etc/nginx/conf.d/app.conf"], stdin=_APP)
    made.sh("systemd-run --quiet --unit=wiki python3 /root/wiki.py; nginx -s reload")
    write(project, shared_lab, "nginx", task)
    ran = deployer("apply", "site.yml", "--yes", "--json")
    made.sh("rm /etc/nginx/conf.d/app.conf; nginx -s reload")
    assert ran.code == 4, ran
    report = ran.document["hosts"]["web1"]
    assert report["state"] == "stranded"
    assert "http://app.example.com/ answered 200 before" in report["message"], ran


def test_a_change_that_breaks_a_neighbour_is_reverted(
    shared_lab: Lab, made: LabHost, project: Path
) -> None:
    made.sh(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=new.example.com"
        " -keyout /tmp/k -out /tmp/c 2>/dev/null; cat /tmp/k /tmp/c > /etc/nginx/t.pem"
    )
    task = f"""\
  tasks:
    - copy:
        dest: /etc/nginx/conf.d/00-new.conf
        content: |
{textwrap.indent(_IN_FRONT, " " * 10)}
      notify: reload nginx
"""
    write(project, shared_lab, "nginx", task)
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == 3, ran
    assert ran.document["hosts"]["web1"]["state"] == "reverted", ran
    assert failing(ran) == _BROKEN, ran
    assert others(made) == _AS_BEFORE

    ran = deployer("apply", "site.yml", "--yes", "--displace", ",".join(_NAMES))
    assert ran.code == 0, ran
    assert others(made)[0] == "404"
    # Port 8080 has spoken TLS since, which the rollback ends.
    ran = deployer("rollback", "site.yml", "--yes", "--displace", "intern.example.com")
    assert ran.code == 0, ran
    assert others(made) == _AS_BEFORE
