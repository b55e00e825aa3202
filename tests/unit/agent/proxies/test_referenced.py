"""The files that HAProxy's configuration refers to, as far as they may have names."""

from __future__ import annotations

from pathlib import Path

from deployer.agent.proxies.files import FileReader
from deployer.agent.proxies.haproxy.referenced import referenced

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
CONFIG = """\
frontend web
    bind :443 ssl crt {0}/certs
    acl blocked src -f {0}/countries -f {0}/more
    http-request set-var(txn.land) src,map_ip({0}/geo)
    # use_backend %[hdr(host),map({0}/comment)]
    use_backend app if {{ src -i -f {0}/countries }} {{ hdr(host) -f {0}/names }}
    use_backend %[hdr(host),lower,map_dom({0}/hosts,none)]
"""


def test_lists_of_addresses_are_not_read_and_keys_do_not_count(tmp_path: Path) -> None:
    for name in ("countries", "more", "geo"):
        (tmp_path / name).write_text("192.0.2.0/24\n" * (1 << 18))  # more than may be read
    (tmp_path / "names").write_text("a.example.com\n")
    (tmp_path / "hosts").write_text("b.example.com app\n")
    (tmp_path / "certs").mkdir()
    key = "-----BEGIN PRIVATE KEY-----\n" + "A" * (1 << 20)
    for number in range(20):  # more than may be read of all files together
        (tmp_path / f"certs/{number:02}.pem").write_text(CERTIFICATE + key)
    reader = FileReader()
    config = [{"path": "/etc/haproxy/haproxy.cfg", "text": CONFIG.format(tmp_path)}]
    found = {each["path"]: each["text"] for each in referenced(config, 0, reader)}
    assert reader.notes == []
    assert found.pop(f"{tmp_path}/names") == "a.example.com\n"
    assert found.pop(f"{tmp_path}/hosts") == "b.example.com app\n"
    assert len(found) == 20
    assert set(found.values()) == {CERTIFICATE}
