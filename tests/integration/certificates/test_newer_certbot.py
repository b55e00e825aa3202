"""Features that need a newer certbot than the distribution's: the plan installs it from PyPI."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.agent.certificates.versions import rfc3339
from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.integration.certificates.test_issue_and_renew import (
    DOMAIN,
    served,
    start_services,
    status,
    write_site,
)
from tests.support.certificates.authority import Authority, authority
from tests.support.certificates.ca_fronts import NEW_ORDER, Front
from tests.support.runs import deployer, differences, state_of
from tests.support.waiting import PATIENCE_S
from tests.support.wheels import index, wheels

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def newer_certbot() -> Path:
    """certbot and all that it needs, as the host's Python can install it."""
    return wheels("certbot>=5.4")


@pytest.mark.slow
def test_a_certificate_for_an_address(
    lab: Lab, newer_certbot: Path, workdir: Path, tmp_path: Path
) -> None:
    (host,) = lab.hosts
    start_services(host)
    with index(lab, newer_certbot), authority(lab, tmp_path / "ca") as ca:
        tls = {"issuer": {"directory": ca.directory, "ca_bundle": str(ca.bundle)}}
        site = {
            "domain": host.address,
            "tls": tls,
            "routes": [{"path": "/ws", "websocket": "http://127.0.0.1:9001"}],
        }
        play = {"hosts": "all", "become": True, "sites": [site]}
        Path("site.yml").write_text(yaml.safe_dump([play], sort_keys=False))
        lab.write_inventory(Path("inventory.yml"))

        bare = state_of(host)
        planned = deployer("plan", "site.yml")
        assert "requires certbot 5.4, but the package is 2.1.0" in planned.out, planned
        ca.stop_pebble()
        failed = deployer("apply", "site.yml", "--yes", "--no-diff", timeout_s=PATIENCE_S)
        assert failed.code == 3, failed
        assert "nothing listens there" in failed.out
        assert differences(bare, state_of(host)) == {}

        ca.start_pebble()
        applied = deployer("apply", "site.yml", "--yes", "--no-diff", timeout_s=PATIENCE_S)
        assert applied.code == 0, applied
        (one,) = status()
        assert one["names"] == [host.address]
        assert one["is_served"]
        host.sh("test -x /opt/deployer/certbot/bin/certbot; ! test -e /usr/bin/certbot")

        again = deployer("apply", "site.yml", "--yes")
        assert "nothing to do" in again.out, again

        # After an upgrade of the distribution there is another Python, which sees none of it.
        host.sh("cd /opt/deployer/certbot/lib; mv python3.11 python3.8")
        host.sh("! /opt/deployer/certbot/bin/certbot --version")
        fixed = deployer("apply", "site.yml", "--yes", "--no-diff", timeout_s=PATIENCE_S)
        assert fixed.code == 0, fixed
        host.sh("/opt/deployer/certbot/bin/certbot --version")
        assert ca.orders() == 1


class Modern(Front):
    """What Debian's Pebble is too old for: profiles, and renewal information (RFC 9773).

    `windows` has the window, in seconds from now, of the first certificate asked for, of the next,
    and so on; the last is for all others.
    """

    windows: tuple[tuple[float, float], ...]

    def __init__(self, ca: Authority, port: int) -> None:
        super().__init__(ca, port)
        self.windows = ((3600.0, 7200.0),)
        self.orders: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """As the CA answers, and what it lacks."""
        if path.startswith("/ari/"):
            return 200, [("Retry-After", "60")], json.dumps(self._wish(path[5:])).encode()
        if path == NEW_ORDER and method == "POST":
            payload = json.loads(body)["payload"]
            self.orders.append(json.loads(base64.urlsafe_b64decode(payload + "==")))
        status, kept, data = super().ask(method, path, body, headers)
        if path == "/dir":
            document = json.loads(data)
            document["renewalInfo"] = self.directory.replace("/dir", "/ari")
            profiles = {"classic": "as ever", "shortlived": "six days"}
            document["meta"] = {**document["meta"], "profiles": profiles}
            data = json.dumps(document).encode()
        return status, kept, data

    def _wish(self, certificate: str) -> dict[str, Any]:
        if certificate not in self.asked:
            self.asked.append(certificate)
        which = min(self.asked.index(certificate), len(self.windows) - 1)
        start, end = (rfc3339(time.time() + offset) for offset in self.windows[which])
        return {"suggestedWindow": {"start": start, "end": end}}


def renew_by_the_timer(host: LabHost) -> str:
    """Start the timer's service once; its log."""
    host.sh("systemctl start deployer-renew.service")
    return host.sh("journalctl -t deployer-renew -o cat --no-pager")


def test_a_profile_and_the_wish_of_the_ca(
    lab: Lab, newer_certbot: Path, workdir: Path, tmp_path: Path
) -> None:
    (host,) = lab.hosts
    start_services(host)
    with (
        index(lab, newer_certbot),
        authority(lab, tmp_path / "ca", validity_s=6 * 86400) as ca,
        Modern(ca, 14443) as front,
    ):
        wanted = {"issuer": {"directory": front.directory, "ca_bundle": str(ca.bundle)}}
        write_site(lab, ca, **wanted, profile="shortlived", ari=True)
        planned = deployer("plan", "site.yml")
        needs = "profile: shortlived requires certbot 4.1, but the package is 2.1.0"
        assert needs in planned.out, planned
        applied = deployer("apply", "site.yml", "--yes", "--no-diff", timeout_s=PATIENCE_S)
        assert applied.code == 0, applied
        assert [order["profile"] for order in front.orders] == ["shortlived"]
        first = served(host)

        # Long before half of its six days is left it is renewed, as the CA says so.
        (one,) = status()
        start, end = one["ari"]  # type: ignore[misc]
        assert start <= one["renewal_due_at"] <= end
        assert "not due before" in renew_by_the_timer(host)
        state = host.root / f"var/lib/deployer/certificates/{DOMAIN}/state.json"
        known = json.loads(state.read_text())
        known["ari"]["ask_again_at"] = 0  # it is asked again when it has said, here at once
        state.write_text(json.dumps(known))
        front.windows = ((-7200.0, -3600.0), (3600.0, 7200.0))
        assert "is served" in renew_by_the_timer(host)
        assert served(host) != first
        assert len(front.orders) == 2
        (one,) = status()
        assert one["serial"] == served(host)
        assert one["ari"] is not None
        assert one["ari"] != [start, end]
        again = deployer("apply", "site.yml", "--yes")
        assert "nothing to do" in again.out, again

        # What is not offered is not ordered, and the site goes on with what it has.
        write_site(lab, ca, **wanted, profile="tlsserver")
        refused = deployer("apply", "site.yml", "--yes", "--no-diff")
        assert refused.code == 3, refused
        assert "does not offer the profile tlsserver; it has classic, shortlived" in refused.out
        assert served(host) == one["serial"]
        assert len(front.orders) == 2
