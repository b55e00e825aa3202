"""What checks have seen, explained by the host's own configuration: the line that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.paths import PROGRAMS
from tests.support.programs.backends import PORTS
from tests.support.runs import Ran, deployer, differences, state_of, write_playbook

pytestmark = pytest.mark.lab

DOMAIN = "chat.example.com"
SITE = f"""
- hosts: all
  sites:
    - domain: {DOMAIN}
      tls: {{issuer: none}}
      routes:
        - path: /ws
          websocket: "http://127.0.0.1:{PORTS["good"]}"
"""
#: A server that nginx reads before that of the site, and that has its name.
IN_FRONT = f"""\
server {{
    listen 80;
    server_name {DOMAIN};
    location /ws {{
        proxy_pass http://127.0.0.1:{PORTS["good"]};
    }}
}}
"""
ANOTHER_FILE = f"""
  tasks:
    - copy:
        dest: /etc/nginx/conf.d/00-old.conf
        content: |
{"".join(f"          {line}" for line in IN_FRONT.splitlines(keepends=True))}
      notify: reload nginx
"""


@pytest.fixture
def served(lab: Lab, workdir: Path) -> LabHost:
    """A host with a working site."""
    (host,) = lab.hosts
    program = (PROGRAMS / "backends.py").read_text()
    host.exec(["tee", "/root/backends.py"], stdin=program)
    host.sh("systemd-run --quiet --unit=backends python3 /root/backends.py")
    write_playbook(workdir, SITE, lab)
    applied = deployer("apply", "site.yml", "--yes")
    assert applied.code == 0, applied
    return host


def the_error(ran: Ran) -> dict[str, Any]:
    """The only error of a run."""
    errors = [each for each in ran.document["findings"] if each.get("severity") != "warning"]
    errors = [each for each in errors if each.get("severity") != "note"]
    assert len(errors) == 1, ran
    error: dict[str, Any] = errors[0]
    return error


def line_of(host: LabHost, place: str) -> str:
    """The line of a file on the host that a finding points at."""
    path, _, number = place.rpartition(":")
    return host.exec(["sed", "-n", f"{int(number)}p", path]).stdout.strip()


def test_the_line_that_is_wrong_is_named(served: LabHost) -> None:
    """Someone edits what was deployed; then an apply adds a change that breaks the site."""
    good = state_of(served)
    broken = SITE + ANOTHER_FILE
    Path("site.yml").write_text(broken)
    refused = deployer("apply", "site.yml", "--yes", "--json")
    assert refused.code == 3, refused
    assert refused.document["hosts"]["web1"]["state"] == "reverted"
    error = the_error(refused)
    assert error["code"] == "upgrade-not-forwarded", refused
    assert error["file"].startswith("/etc/nginx/conf.d/00-old.conf:"), error
    assert differences(good, state_of(served)) == {}
    Path("site.yml").write_text(SITE)

    with_the_site = served.root / f"etc/nginx/sites-available/{DOMAIN}.conf"
    text = with_the_site.read_text()
    assert "$deployer_upgrade;" in text
    with_the_site.write_text(text.replace("$deployer_upgrade;", '"";'))
    served.sh("systemctl restart nginx")
    verified = deployer("verify", "site.yml", "--no-public", "--json")
    assert verified.code == 3, verified
    error = the_error(verified)
    assert error["code"] == "upgrade-not-forwarded", verified
    assert line_of(served, error["file"]).split()[:2] == ["proxy_set_header", "Upgrade"], error

    address = f"{DOMAIN}:80:{served.address}"
    looked = ("diagnose", f"ws://{DOMAIN}/ws", "--resolve", address, "--json")
    outside = deployer(*looked)
    assert outside.code == 3, outside
    assert not any(each["file"] for each in outside.document["findings"]), outside
    inside = deployer(*looked, "--host", "web1", "-i", "inventory.yml")
    assert inside.code == 3, inside
    assert the_error(inside)["code"] == "upgrade-not-forwarded", inside
    assert the_error(inside)["file"] == error["file"]

    served.sh("systemctl stop nginx")
    inside = deployer(*looked, "--host", "web1", "-i", "inventory.yml")
    assert inside.code == 3, inside
    assert the_error(inside)["code"] == "proxy-down", inside
