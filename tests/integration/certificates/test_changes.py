"""A live site that gets a different certificate: what is served meanwhile, and rollbacks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from websockets.asyncio.client import ClientConnection, connect

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.integration.certificates.test_issue_and_renew import (
    DOMAIN,
    _still_open,
    served,
    start_services,
    status,
)
from tests.support.certificates.authority import Authority, authority
from tests.support.runs import Ran, deployer

pytestmark = pytest.mark.lab


def apply(lab: Lab, tls: dict[str, object] | None, *, names: tuple[str, ...] = ()) -> Ran:
    """Apply a site with the certificate settings `tls`."""
    route = {"path": "/ws", "websocket": "http://127.0.0.1:9001"}
    site: dict[str, object] = {"domain": DOMAIN, "aliases": list(names), "routes": [route]}
    if tls is not None:
        site["tls"] = tls
    play = {"hosts": "all", "become": True, "sites": [site]}
    Path("site.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    lab.write_inventory(Path("inventory.yml"))
    return deployer("apply", "site.yml", "--yes", "--no-diff")


async def open_plain(host: LabHost) -> ClientConnection:
    """A WebSocket over port 80, as clients have one before there is TLS."""
    connection = await connect(
        f"ws://{DOMAIN}/ws",
        host=host.address,
        port=80,
        origin=f"http://{DOMAIN}",  # type: ignore[arg-type]
        ping_interval=None,
        close_timeout=1.0,
    )
    assert await connection.recv() == "hello"
    return connection


def test_a_site_in_plain_text_gets_a_certificate(lab: Lab, workdir: Path, tmp_path: Path) -> None:
    """It is served while the CA validates, also if that fails; a rollback restores it."""
    (host,) = lab.hosts
    start_services(host)

    async def scenario(ca: Authority) -> None:
        assert (await asyncio.to_thread(apply, lab, None)).code == 0
        before = await open_plain(host)
        try:
            acme: dict[str, object] = {
                "issuer": {"directory": ca.directory, "ca_bundle": str(ca.bundle)}
            }
            ca.stop_pebble()
            failed = await asyncio.to_thread(apply, lab, acme)
            assert failed.code == 3, failed
            assert await _still_open([before]) == 1
            await (await open_plain(host)).close()

            ca.start_pebble()
            applying = asyncio.create_task(asyncio.to_thread(apply, lab, acme))
            certbot = "until pgrep -f [c]ertonly >/dev/null; do sleep 0.1; done"
            await asyncio.to_thread(host.sh, certbot)
            await (await open_plain(host)).close()  # while the CA is being asked
            applied = await applying
            assert applied.code == 0, applied
            assert await _still_open([before]) == 1
            assert served(host) == status()[0]["serial"]

            back = await asyncio.to_thread(deployer, "rollback", "site.yml", "--yes", "--no-diff")
            assert back.code == 0, back
            await (await open_plain(host)).close()
            host.sh(f"! test -e /etc/ssl/deployer/{DOMAIN}")

            again = await asyncio.to_thread(apply, lab, acme)
            assert again.code == 0, again
            assert ca.orders() == 1  # what was issued was kept
        finally:
            await before.close()

    with authority(lab, tmp_path / "ca") as ca:
        asyncio.run(scenario(ca))


def test_which_changes_order_a_new_certificate(lab: Lab, workdir: Path, tmp_path: Path) -> None:
    (host,) = lab.hosts
    start_services(host)
    with authority(lab, tmp_path / "ca") as ca:
        acme = {"issuer": {"directory": ca.directory, "ca_bundle": str(ca.bundle)}}
        # From a CA of one's own, whose certificate is served until the other one is there.
        assert (
            apply(lab, {"issuer": "internal"}, names=("b.example.com", "a.example.com")).code == 0
        )
        own = served(host)
        applied = apply(lab, dict(acme), names=("b.example.com", "a.example.com"))
        assert applied.code == 0, applied
        assert ca.orders() == 1
        assert served(host) != own

        # The order of the names is nothing to a certificate.
        assert apply(lab, dict(acme), names=("a.example.com", "b.example.com")).code == 0
        assert ca.orders() == 1

        # Another kind of key is another certificate; and back there is the former one.
        first = served(host)
        names = ("a.example.com", "b.example.com")
        assert apply(lab, {**acme, "key_type": "rsa"}, names=names).code == 0
        assert ca.orders() == 2
        assert status()[0]["key_type"] == "rsa-2048"
        assert apply(lab, {**acme, "key_type": "ecdsa-p384"}, names=names).code == 0
        assert ca.orders() == 3
        assert status()[0]["key_type"] == "ecdsa-p384"
        assert apply(lab, dict(acme), names=names).code == 0
        assert ca.orders() == 3
        assert served(host) == first

        # One that is due is renewed by an apply, but not waited for while it is valid.
        state = host.root / f"var/lib/deployer/certificates/{DOMAIN}/state.json"
        window = {"serial": first, "start": 0, "end": 1, "ask_again_at": 9e9}
        state.write_text(json.dumps({**json.loads(state.read_text()), "ari": window}))
        ca.stop_pebble()
        late = apply(lab, dict(acme), names=names)
        assert late.code == 0, late
        assert "the one in use is valid until" in late.out
        assert served(host) == first
        ca.start_pebble()
        renewed = apply(lab, dict(acme), names=names)
        assert renewed.code == 0, renewed
        assert "does not know our account any more" in renewed.out  # a Pebble forgets all
        assert served(host) != first
        first = served(host)

        # And back to a CA of one's own.
        assert apply(lab, {"issuer": "internal"}, names=names).code == 0
        assert served(host) not in ("", first)


@pytest.mark.parametrize("image", ["debian-11", "debian-13"])
def test_on_other_releases(
    labs: pytest.FixtureRequest, workdir: Path, tmp_path: Path, image: str
) -> None:
    lab: Lab = labs(1, image_name=image)  # type: ignore[operator]
    start_services(lab.hosts[0])
    with authority(lab, tmp_path / "ca") as ca:
        acme: dict[str, object] = {
            "issuer": {"directory": ca.directory, "ca_bundle": str(ca.bundle)}
        }
        applied = apply(lab, acme)
        assert applied.code == 0, applied
        before = served(lab.hosts[0])
        renewed = deployer("certs", "renew", "site.yml", "--force")
        assert renewed.code == 0, renewed
        (one,) = status()
        assert one["serial"] == served(lab.hosts[0]) != before
        assert one["next_run"] is not None
