"""Options of ssh and the SSH config: our reading, compared with what ``ssh -G`` prints."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from deployer.errors import UsageError
from deployer.transport import ssh_config
from deployer.transport.ssh_args import parse_words
from deployer.transport.ssh_config import local_user, lookup

CONFIG = """\
Host web*
  HostName %h.example.com
  Port 2200
  User deploy
  ProxyJump gate
  IdentityFile ~/.ssh/from-config
Host db
  ProxyCommand nc -X connect %h %p
  ProxyJump gate
  ConnectTimeout 7
  IdentitiesOnly yes
Match host *.example.com user deploy
  UserKnownHostsFile ~/a ~/b
  HostKeyAlias alias
Match originalhost direct
  ProxyJump none
  ProxyCommand never
Host *
  IdentityFile ~/.ssh/general   # for all
  AddressFamily inet
  "User" general
  BindAddress=127.0.0.3
"""

#: Words of ``ssh``; those with a comment in the text of an error are refused by both.
ARGS = [
    "",
    "-p 2222",
    "-p 2222 -o Port=2223",
    "-o Port=2223 -p 2222",
    "-o 'Port 2224'",
    "-oPort=2225",
    "-l me",
    "-l me -o User=you",
    "-o user=you -l me",
    "-J hop",
    "-Jhop",
    "-J me@hop:2222,second",
    "-o ProxyJump=hop",
    "-o ProxyJump=none",
    "-o ProxyJump=none -o 'ProxyCommand=nc %h %p'",
    "-o 'ProxyCommand=ssh -W %h:%p -q hop'",
    "-o 'ProxyCommand ssh -W %h:%p hop' -o ProxyJump=other",
    "-o ProxyJump=one -o ProxyJump=two",
    "-J hop -o 'ProxyCommand=nc %h %p'",
    "-F none",
    "-F other",
    "-F other -p 3",
    "-i key",
    "-i key -i second",
    "-i key -o IdentityFile=~/.ssh/third -i key",
    "-o 'IdentityFile=\"key\"'",
    "-o IdentitiesOnly=yes -i key",
    "-4",
    "-6",
    "-4p 2222",
    "-4qCp2222",
    "-o AddressFamily=inet6",
    "-b 127.0.0.2",
    "-o BindAddress=127.0.0.2 -b 127.0.0.4",
    "-o ConnectTimeout=5",
    "-o ConnectTimeout=5 -o ConnectTimeout=9",
    "-o UserKnownHostsFile=/dev/null",
    "-o 'UserKnownHostsFile=/a /b'",
    "-o GlobalKnownHostsFile=/c",
    "-o HostKeyAlias=other",
    "-o HostName=elsewhere",
    "-o HostName=%h.lan -p 22",
    "-o StrictHostKeyChecking=accept-new",
    "-o StrictHostKeyChecking=no",
    "-o StrictHostKeyChecking=no -o StrictHostKeyChecking=yes",
    "-o PreferredAuthentications=password,publickey",
    "-o PasswordAuthentication=no -o PubkeyAuthentication=yes",
    "-o IdentityAgent=none",
    "-o ForwardAgent=no -C -q -v -x -a -k -T -n",
    "-C -o ControlMaster=auto -o ControlPersist=60s -o ControlPath=/tmp/%C",
    "-o ServerAliveInterval=30 -o ServerAliveCountMax=3 -o TCPKeepAlive=no -o LogLevel=ERROR",
    "-o Compression=yes -o BatchMode=yes -o GSSAPIAuthentication=no",
]
TARGETS = ["plain", "web1", "db", "direct"]
REFUSED_BY_BOTH = [
    "-p",
    "-o",
    "-J a -J b",
    "-o ProxyCommand=a -J b",
    "-o ProxyJump=a -J b",
    "-p nowhere",
    "-p 99999",
    "-o Port=0x",
    "-F missing",
    "-o Prot=1",
    "-Z",
]
#: Valid for ssh, but not for one connection that runs one program.
REFUSED_BY_US = [
    "-t",
    "-tt",
    "-A",
    "-X",
    "-N",
    "-f",
    "-L 1:localhost:2",
    "-D 1080",
    "-W a:1",
    "-s",
    "-o ForwardAgent=yes",
    "-o RequestTTY=force",
    "-o RemoteCommand=ls",
    "-o LocalForward='1 localhost:2'",
    "-o Ciphers=aes128-ctr",
    "-o PKCS11Provider=/x",
    "-o BindInterface=lo",
    "-o SetEnv=A=b",
    "-o CertificateFile=/x",
    "-o PermitLocalCommand=yes",
    "-o SendEnv=X",
    "-o VerifyHostKeyDNS=yes",
    "-o CanonicalizeHostname=yes",
    "-o NoHostAuthenticationForLocalhost=yes",
    "-I /x",
    "-S none word",
    "word",
]
_ALWAYS_PRINTED = {"true": "yes", "false": "no"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    config = tmp_path / ".ssh/config"
    config.write_text(CONFIG)
    (tmp_path / "other").write_text("Host *\n User elsewhere\n Port 26\n")
    for name in ("key", "second"):
        (tmp_path / name).write_text("a key\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    ssh_config.forget()
    return tmp_path


def printed(words: list[str], target: str, config: list[str]) -> dict[str, list[str]] | None:
    """What ``ssh -G`` prints; `None` if it refuses the options."""
    run = subprocess.run(
        ["ssh", "-G", *config, *words, target],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if run.returncode != 0:
        return None
    found: dict[str, list[str]] = {}
    for line in run.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def ours(text: str, target: str) -> dict[str, list[str]]:
    """The same keywords; files with several values are one line."""
    args = parse_words(text)
    files: list[str] | None = None
    if args.config_file is not None:
        files = [] if args.config_file == "none" else [args.config_file]
    else:
        files = ["~/.ssh/config"]
    found = lookup(target, user=local_user(), given=args.settings, files=files)
    found.setdefault("hostname", [target])
    found["hostname"] = [ssh_config.expand(found["hostname"][0], {"h": target})]
    for keyword in ("userknownhostsfile", "globalknownhostsfile"):
        if keyword in found:
            found[keyword] = [" ".join(found[keyword])]
    return {
        keyword: [values[0]] if keyword not in ("identityfile",) else values
        for keyword, values in found.items()
    }


def same(value: str) -> str:
    return _ALWAYS_PRINTED.get(value, value)


@pytest.mark.parametrize("target", TARGETS)
def test_options_mean_what_they_mean_to_ssh(target: str, home: Path) -> None:
    # HOME is not what ssh takes for the home.
    tilde = Path(f"~{local_user()}").expanduser()
    plain = printed([], target, ["-F", "none"]) or {}
    for text in ARGS:
        config = [] if "-F" in text else ["-F", str(home / ".ssh/config")]
        theirs = printed(shlex.split(text), target, config)
        assert theirs is not None, text
        mine = ours(text, target)
        mine.pop("proxyjump" if mine.get("proxyjump") == ["none"] else "", None)
        for keyword in ("controlpath", "controlpersist", "loglevel", "batchmode"):
            mine.pop(keyword, None)
        for keyword, values in mine.items():
            expected = [same(value) for value in theirs.get(keyword, [])]
            shown = [same(value) for value in values]
            if keyword == "stricthostkeychecking" and shown == ["no"]:
                assert expected in (["no"], ["off"])
                continue
            assert [each.replace(str(tilde), "~") for each in expected] == shown, (text, keyword)
        for keyword in ("port", "user", "proxyjump", "proxycommand", "hostkeyalias"):
            if keyword not in mine:
                assert theirs.get(keyword) == plain.get(keyword), (text, keyword)


def test_what_ssh_refuses_is_refused(home: Path) -> None:
    for text in REFUSED_BY_BOTH:
        assert printed(shlex.split(text), "plain", []) is None, text
        with pytest.raises(UsageError):
            parse_words(text)


def test_what_a_connection_here_cannot_do_is_refused(home: Path) -> None:
    for text in REFUSED_BY_US:
        with pytest.raises(UsageError):
            parse_words(text)
