"""A different proxy takes over a live host, in one commit; and ports that are in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from deployer.proxies import BY_UNIT, PROXIES
from tests.support.paths import PROGRAMS
from tests.support.programs.backends import PORTS
from tests.support.runs import Ran, deployer, differences, state_of, write_playbook
from tests.support.waiting import until

pytestmark = pytest.mark.lab

_PLAYBOOK = """\
- hosts: all
  become: true
  sites:
    - domain: move.example.com
      proxy: {proxy}
      tls: {{issuer: internal}}
      routes:
        - path: /ws
          websocket: http://127.0.0.1:{port}
"""


def write(folder: Path, lab: Lab, proxy: str, *, service: str = "good") -> None:
    write_playbook(folder, _PLAYBOOK.format(proxy=proxy, port=PORTS[service]), lab)


def apply(*options: str) -> Ran:
    return deployer("apply", "site.yml", "--yes", "--json", *options)


def start_services(host: LabHost) -> None:
    program = (PROGRAMS / "backends.py").read_text()
    host.exec(["sh", "-c", "cat > /root/backends.py"], stdin=program)
    host.exec(["systemd-run", "--quiet", "--unit=services", "python3", "/root/backends.py"])


def standing(host: LabHost) -> dict[str, tuple[str, str]]:
    """By unit, whether each proxy runs and whether it would after a boot."""
    found = {}
    for unit in BY_UNIT:
        words = [
            host.exec(["systemctl", verb, unit], check=False).stdout.strip() or "not-found"
            for verb in ("is-active", "is-enabled")
        ]
        found[unit] = (words[0], words[1])
    return found


def lasting(host: LabHost) -> dict[str, Any]:
    """The state of a host, but for the end of a drain, which a proxy that stops takes along."""
    state = state_of(host)
    for key in ("enabled", "active"):
        state[key] = [words for words in state[key] if not words.startswith("apache2-drain-")]
    return state


def main_pid(host: LabHost, unit: str) -> str:
    return host.exec(["systemctl", "show", "-p", "MainPID", "--value", unit]).stdout.strip()


def test_each_proxy_takes_over_from_the_one_before(lab: Lab, host: LabHost, workdir: Path) -> None:
    start_services(host)
    for proxy in ("nginx", "haproxy", "apache", "nginx"):
        write(workdir, lab, proxy)
        ran = apply()
        assert ran.code == 0, (proxy, ran)
        for unit, words in standing(host).items():
            is_ours = unit == PROXIES[proxy].unit
            assert words[0] == ("active" if is_ours else "inactive"), (proxy, unit)
            assert words[1] in (("enabled",) if is_ours else ("disabled", "not-found"))
        assert deployer("plan", "site.yml", "--detailed-exitcode").code == 0, proxy

    # Switching back is a commit, too: the proxy before the last one serves again.
    ran = deployer("rollback", "site.yml", "--yes", "--json")
    assert ran.code == 0, ran
    assert standing(host)["apache2"] == ("active", "enabled")
    assert standing(host)["nginx"] == ("inactive", "disabled")


@pytest.mark.parametrize(
    ("old", "new"), [("nginx", "haproxy"), ("haproxy", "apache"), ("apache", "nginx")]
)
def test_a_failing_verification_brings_the_old_one_back(
    lab: Lab, host: LabHost, workdir: Path, old: str, new: str
) -> None:
    start_services(host)
    write(workdir, lab, old)
    assert apply().code == 0
    before = lasting(host)

    write(workdir, lab, new, service="answers 404")
    ran = apply("--no-preflight")

    assert ran.code == 3, ran
    assert ran.document["hosts"]["web1"]["state"] == "reverted", ran
    assert differences(before, lasting(host)) == {}
    assert standing(host)[PROXIES[old].unit] == ("active", "enabled")
    write(workdir, lab, old)
    assert deployer("verify", "site.yml").code == 0


def test_the_old_one_serves_until_the_new_one_has_passed_its_config_test(
    lab: Lab, host: LabHost, workdir: Path
) -> None:
    start_services(host)
    write(workdir, lab, "nginx")
    assert apply().code == 0
    before, master = state_of(host), main_pid(host, "nginx")

    write(workdir, lab, "haproxy")
    broken = workdir / "roles/haproxy/templates/haproxy.cfg.j2"
    broken.parent.mkdir(parents=True)
    broken.write_text("frontend sites\n    bind :80\n    no such thing\n")
    ran = apply()

    assert ran.code == 3, ran
    assert "no such thing" in ran.out or "unknown keyword" in ran.out, ran
    assert main_pid(host, "nginx") == master, "nginx was stopped"
    assert differences(before, state_of(host)) == {}


def test_a_port_that_something_unknown_holds(lab: Lab, host: LabHost, workdir: Path) -> None:
    start_services(host)
    write(workdir, lab, "nginx")
    deployer("plan", "site.yml")  # makes /var/lib/deployer
    before = state_of(host)
    host.sh("systemd-run --quiet --unit=squatter python3 -m http.server 443")
    until(lambda: host.sh("ss -Hltn 'sport = :443'") != "")
    for command in (["plan", "site.yml"], ["apply", "site.yml", "--yes"]):
        ran = deployer(*command)
        assert ran.code == 3, ran
        assert "port 443 is held by python3" in ran.err + ran.out, ran
        assert "of squatter.service" in ran.err + ran.out, ran
        assert "Nothing was changed" in ran.err + ran.out, ran
    host.exec(["systemctl", "stop", "squatter"])
    assert differences(before, state_of(host)) == {}
    assert apply().code == 0


_ASK = "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8404\").status)'"
_OWN_SECTION = "\nlisten own\n    bind 127.0.0.1:8404\n    http-request return status 204\n"


def test_a_second_playbook_keeps_the_sites_of_the_first_behind_haproxy(
    lab: Lab, host: LabHost, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_services(host)
    write(workdir, lab, "haproxy")
    assert apply().code == 0
    # As an earlier version of deployer leaves a host, and an administrator's section.
    folder, config = host.root / "etc/haproxy/deployer/sites", host.root / "etc/haproxy/haproxy.cfg"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    config.write_text(config.read_text() + _OWN_SECTION)

    other = workdir.parent / "other"
    other.mkdir()
    text = _PLAYBOOK.replace("move.example.com", "other.example.com")
    write_playbook(other, text.format(proxy="haproxy", port=PORTS["good"]), lab)
    monkeypatch.chdir(other)
    ran = apply()
    assert ran.code == 0, ran
    assert sorted(file.name for file in folder.iterdir()) == [
        "move.example.com.json",
        "other.example.com.json",
    ]
    assert config.read_text().endswith(_OWN_SECTION)
    assert host.sh(_ASK) == "204\n"
    for place in (other, workdir):
        monkeypatch.chdir(place)
        assert deployer("verify", "site.yml").code == 0, place
        assert deployer("plan", "site.yml", "--detailed-exitcode").code == 0, place

    monkeypatch.chdir(other)
    (other / "site.yml").write_text("- {hosts: all, become: true}\n")
    assert "no longer in the playbook: site other.example.com, since" in apply().out
    ran = apply("--prune")
    assert ran.code == 0, ran
    assert '"name": "no longer served"' in ran.out
    assert [file.name for file in folder.iterdir()] == ["move.example.com.json"]
    monkeypatch.chdir(workdir)
    assert deployer("verify", "site.yml").code == 0
