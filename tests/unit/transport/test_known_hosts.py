"""known_hosts files, and what of the SSH config leads to a host."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import UsageError
from deployer.model import Host
from deployer.transport import ConnectOptions, ssh_config
from deployer.transport.known_hosts import KnownHosts, fingerprint, known_name, remember
from deployer.transport.settings import SshSettings, host_settings, jump_settings

_KEY = base64.b64encode(b"\0\0\0\x0bssh-ed25519 and so on").decode()


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("names", "name", "known"),
    [
        ("web1", "web1", True),
        ("web1,10.0.0.1", "10.0.0.1", True),
        ("WEB1", "web1", True),
        ("web1", "[web1]:2222", False),
        ("[web1]:2222", "[web1]:2222", True),
        ("[web1]:2222", "web1", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com,!a.example.com", "a.example.com", False),
        ("web?", "web7", True),
        ("[web?]:2222", "[web7]:2222", True),
        (hashed("web1"), "web1", True),
        (hashed("web1"), "web2", False),
        (hashed("[web1]:2222"), "[web1]:2222", True),
        ("|1|nonsense", "web1", False),
    ],
)
def test_names(tmp_path: Path, names: str, name: str, known: bool) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# comment\n\n{names} ssh-ed25519 {_KEY} who@where\n")
    found = KnownHosts().keys(name, files=[str(tmp_path / "absent"), str(file)])
    assert [(key.line, key.key) for key in found] == ([(3, _KEY)] if known else [])


def test_markers_and_broken_lines(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"web1\nweb1 1024 35 1234\n@revoked web1 ssh-ed25519 {_KEY}\n")
    (key,) = KnownHosts().keys("web1", files=[str(file)])
    assert (key.marker, key.place) == ("@revoked", f"{file}:3")
    assert key.fingerprint == fingerprint(base64.b64decode(_KEY))


def test_a_new_key_is_appended_and_seen(tmp_path: Path) -> None:
    file = tmp_path / "new/known_hosts"
    known = KnownHosts()
    assert known.keys("web1", files=[str(file)]) == []
    remember(str(file), name="web1", key_type="ssh-ed25519", key=_KEY)
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(known.keys("web1", files=[str(file)])) == 1
    file.write_text("web2 ssh-ed25519 AAAA")  # without a line break at its end
    remember(str(file), name="web3", key_type="ssh-ed25519", key=_KEY)
    assert file.read_text().splitlines()[1] == f"web3 ssh-ed25519 {_KEY}"


def test_known_names() -> None:
    assert known_name("Web1", 22) == "web1"
    assert known_name("fd00::1", 2222) == "[fd00::1]:2222"


# --- the SSH config -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    ssh_config.forget()
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def settings(home: Path, config: str, hostname: str = "web1", **variables: Any) -> SshSettings:
    (home / ".ssh/config").write_text(config)
    ssh_config.forget()
    host = Host(
        name="inventory-name",
        hostname=hostname,
        port=variables.get("ansible_port", 22),
        user=variables.get("ansible_user"),
        vars=variables,
    )
    return host_settings(host, ConnectOptions())


def test_without_a_config(home: Path) -> None:
    plain = settings(home, "")
    assert (plain.hostname, plain.port, plain.key_name) == ("web1", 22, "web1")
    assert plain.user == ssh_config.local_user()
    assert plain.identity_files[0] == f"{home}/.ssh/id_ed25519"
    assert plain.agent_socket == "/run/agent"
    assert plain.remember_in == f"{home}/.ssh/known_hosts"
    assert not plain.only_identities


def test_the_config_of_a_host(home: Path) -> None:
    found = settings(
        home,
        "Host web*\n  HostName %h.example.com\n  Port=2222\n  User = ops\n"
        '  IdentityFile "~/keys/%h %r"\n  IdentityFile /two\n  IdentitiesOnly yes\n'
        "  UserKnownHostsFile /a /b\n  GlobalKnownHostsFile none\n  ConnectTimeout 3\n"
        "  IdentityAgent none\n"
        "Host *\n  User someone\n  IdentityFile /three\n",
    )
    assert (found.hostname, found.port, found.user) == ("web1.example.com", 2222, "ops")
    assert found.identity_files == (f"{home}/keys/web1.example.com ops", "/two", "/three")
    assert found.only_identities
    assert found.known_hosts_files == ("/a", "/b")
    assert found.key_name == "[web1.example.com]:2222"
    assert found.connect_timeout_s == 3
    assert found.agent_socket is None


def test_the_inventory_wins(home: Path) -> None:
    found = settings(
        home,
        "User ops\nPort 2222\nIdentityFile /theirs\n",
        ansible_user="root",
        ansible_port=22,
        ansible_ssh_private_key_file="~/ours",
        deployer_known_hosts_file="/lab/known_hosts",
        ansible_password="secret",
    )
    assert (found.port, found.user) == (22, "root")
    assert found.identity_files == (f"{home}/ours",)
    assert found.only_identities
    assert found.known_hosts_files[0] == found.remember_in == "/lab/known_hosts"
    assert "secret" not in repr(found)


def test_aliases_jumps_and_commands(home: Path) -> None:
    assert settings(home, "HostKeyAlias Farm\nPort 2222\n").key_name == "farm"
    assert settings(home, "ProxyJump a,b@c:2200\n").proxy_jump == ("a", "b@c:2200")
    assert settings(home, "ProxyJump none\n").proxy_jump == ()
    command = settings(home, "ProxyCommand nc -x 'a  b' %h %p # %%\n").proxy_command
    assert command == "nc -x 'a  b' web1 22 # %"
    assert settings(home, "ProxyCommand none\n").proxy_command is None


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("gate", ("gate", 22, None)),
        ("me@gate:2200", ("gate", 2200, "me")),
        ("ssh://me@gate:2200/", ("gate", 2200, "me")),
        ("[fd00::1]:2200", ("fd00::1", 2200, None)),
        ("fd00::1", ("fd00::1", 22, None)),
    ],
)
def test_hops(home: Path, hop: str, expected: tuple[str, int, str | None]) -> None:
    host = Host(name="web1", hostname="web1")
    found = jump_settings(hop, before=("first",), host=host, options=ConnectOptions())
    user = expected[2] or ssh_config.local_user()
    assert (found.hostname, found.port, found.user) == (expected[0], expected[1], user)
    assert found.proxy_jump == ("first",)


def test_patterns_matches_and_includes(home: Path) -> None:
    (home / ".ssh/more.d").mkdir()
    (home / ".ssh/more.d/one").write_text("Port 1\nHost web2\n  Port 2\n")
    config = (
        "Host * !web9\n  Include more.d/*\n"
        "Match originalhost web9 user ops\n  Port 90\n"
        'Match originalhost web9 exec "test %h = web9"\n  Port 9\n'
        "Host web1\n  Port 100\n  User late\n"
    )
    assert settings(home, config).port == 1
    assert settings(home, config).user == "late"
    assert settings(home, config, "web9").port == 9
    assert settings(home, config, "web9", ansible_user="ops").port == 90


@pytest.mark.parametrize(
    "config",
    [
        "Port many\n",
        'User "open\n',
        "User\n",
        "HostName %Z\n",
        "Include self\n",
        "Match user\nPort 1\n",
    ],
)
def test_a_config_that_cannot_be_understood(home: Path, config: str) -> None:
    (home / ".ssh/self").write_text("Include self\n")
    with pytest.raises(UsageError):
        settings(home, config)
