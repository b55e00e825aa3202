"""`deployer check --render`: the files of each host, in a folder that deployer owns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployer.cli import main
from deployer.model import Resource
from deployer.plan.rendered_files import in_tree, rendered_files, within_tree
from deployer.plan.rendered_folder import LIST
from deployer.sites.releases import RELEASES

PLAYBOOK = """\
- hosts: all
  vars_files: [{file: secrets.yml, secret: true}]
  tasks:
    - name: Settings
      copy: {dest: /etc/app/settings, content: "for {{ inventory_hostname }}\\n", mode: "0640"}
    - name: Password
      copy: {dest: /etc/app/password, content: "{{ password }}"}
    - name: Kept from people
      copy: {dest: /etc/app/kept, content: kept}
      no_log: true
    - name: Somebody's key
      copy: {dest: /etc/app/key, content: "-----BEGIN PRIVATE KEY-----"}
    - name: Program
      copy: {dest: /opt/app/releases/1/run, content: "#!/bin/sh\\n"}
    - name: The one in use
      file: {path: /opt/app/current, src: releases/1, state: link}
    - name: Not there any more
      file: {path: /etc/app/old, state: absent}
  sites:
    - domain: a.example.com
      tls: {issuer: internal}
      routes: [{path: /, root: /srv/a}]
"""
TOO_OLD = {
    "apache": "`ProxyPass … upgrade=websocket`, which forwards WebSockets (since 2.4.47)",
    "haproxy": "`http-after-response`, and private keys in files of their own (since 2.2)",
}
SITE = "etc/nginx/sites-available/a.example.com.conf"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.yml").write_text("all: {hosts: {web1: , web2: }}\n")
    (tmp_path / "secrets.yml").write_text("password: hunter22\n")
    (tmp_path / "site.yml").write_text(PLAYBOOK)
    return tmp_path


def render(*options: str) -> int:
    return main.run(["check", "site.yml", "--render", "out", *options])


def everything(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_text()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_the_files_of_each_host(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert render() == 0
    found = everything(project / "out")
    assert {path.partition("/")[0] for path in found} == {LIST, "web1", "web2"}
    assert {path for path in found if path.startswith("web1/")} == {
        f"web1/{path}"
        for path in (
            "etc/app/settings",
            "etc/nginx/conf.d/deployer.conf",
            "etc/nginx/modules-enabled/90-deployer.conf",
            SITE,
            "etc/nginx/sites-enabled/a.example.com.conf",
            "opt/app/current",
            "opt/app/releases/1/run",
        )
    }
    assert found["web2/etc/app/settings"] == "for web2\n"
    assert "listen       443 ssl" in found[f"web1/{SITE}"]
    shown = capsys.readouterr().out
    assert "wrote 10 files and 4 links for 2 hosts to out\n" in shown
    assert "  left out: /etc/app/password on web1, web2 (secret)\n" in shown
    assert "  left out: /etc/app/key on web1, web2 (a private key)\n" in shown
    assert "/fullchain.pem on web1, web2 (a certificate created by apply)\n" in shown


def test_no_secret_is_in_it(project: Path) -> None:
    assert render() == 0
    texts = "".join(everything(project / "out").values())
    assert not any(word in texts for word in ("hunter22", "kept", "PRIVATE", "CERTIFICATE"))


def test_links_resolve_as_on_the_host_and_never_outside(project: Path) -> None:
    assert render() == 0
    enabled = project / "out/web1/etc/nginx/sites-enabled/a.example.com.conf"
    assert enabled.is_symlink()
    assert enabled.resolve() == (project / "out/web1" / SITE).resolve()
    assert (project / "out/web1/opt/app/current/run").read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize(
    ("link", "target", "expected"),
    [
        ("/a/b", "/c/d", "../c/d"),
        ("/a/b", "c", "c"),
        ("/a/b", "../../../../etc/shadow", "../etc/shadow"),
        ("/b", "/", "."),
    ],
)
def test_a_link_stays_in_the_tree(link: str, target: str, expected: str) -> None:
    assert within_tree(link, target) == expected


def test_a_file_below_a_link_is_placed_at_its_target() -> None:
    def resource(kind: str, name: str, **attributes: str) -> Resource:
        content = b"x" if kind == "file" else None
        return Resource(kind=kind, name=name, attributes=attributes, content=content)

    files = rendered_files(
        "web1",
        [
            resource("link", "/current", target="releases/2"),
            resource("link", "/releases/2", target="/opt/two"),
            resource("file", "/current/run", mode="0755"),
            resource("link", "/round", target="/about"),
            resource("link", "/about", target="/round"),
            resource("file", "/round/and/about"),
        ],
    )
    tree = in_tree(files)
    assert {"current", "releases/2", "opt/two/run", "round", "about"} <= set(tree)
    assert len(tree) == 6


def test_the_json_lists_the_files(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert render("--json", "-l", "web1") == 0
    rendered = json.loads(capsys.readouterr().out)["rendered"]
    by_path = {each["path"]: each for each in rendered}
    assert by_path["/etc/app/settings"] == {
        "host": "web1",
        "path": "/etc/app/settings",
        "kind": "file",
        "mode": "0640",
        "left_out": None,
        "source": "site.yml:4:7",
    }
    assert by_path["/opt/app/current"]["target"] == "releases/1"
    assert by_path["/etc/app/key"]["left_out"] == "a private key"
    assert "/etc/app/old" not in by_path


@pytest.mark.parametrize("name", RELEASES)
@pytest.mark.parametrize("proxy", ["nginx", "apache", "haproxy"])
def test_every_release_gets_its_files_or_the_reason(
    proxy: str, name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PLAYBOOK.replace("    - domain:", f"    - proxy: {proxy}\n      domain:")
    (project / "site.yml").write_text(text)
    code = render("--release", name)
    if name == "ubuntu-20.04" and proxy != "nginx":
        assert code == 1
        shown = capsys.readouterr().err
        assert "site.yml:20:7: " in shown
        assert f"of Ubuntu 20.04 is too old for this site: it lacks {TOO_OLD[proxy]}" in shown
        assert not (project / "out").exists()
    else:
        assert code == 0
        assert "a.example.com" in "".join(everything(project / "out/web1").values())


def test_an_unknown_release(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert render("--release", "fedora-43") == 1
    shown = capsys.readouterr().err
    assert "'fedora-43' is not one of: debian-11, debian-12, " in shown
    assert "ubuntu-26.04" in shown


def test_a_release_of_debian(project: Path) -> None:
    assert render("--debian", "12") == 0
    older = (project / "out/web1" / SITE).read_text()
    assert render("--debian", "13") == 0
    newer = (project / "out/web1" / SITE).read_text()
    assert ("ssl http2;" in older, "http2        on;" in older) == (True, False)
    assert ("ssl http2;" in newer, "http2        on;" in newer) == (False, True)


def test_the_files_of_an_earlier_run_are_replaced(project: Path) -> None:
    assert render() == 0
    first = everything(project / "out")
    (project / "site.yml").write_text(PLAYBOOK.replace("/etc/app/settings", "/srv/settings"))
    assert render("-l", "web1") == 0
    assert not (project / "out/web2").exists()
    assert not (project / "out/web1/etc/app").exists()
    (project / "site.yml").write_text(PLAYBOOK)
    assert render() == 0
    assert everything(project / "out") == first


def test_an_error_writes_nothing(project: Path) -> None:
    (project / "site.yml").write_text(PLAYBOOK.replace("domain:", "dmain:"))
    assert render() == 1
    assert not (project / "out").exists()


@pytest.mark.parametrize("name", ["notes.txt", "web1/etc/app/mine", "web1/etc/app/settings"])
def test_files_changed_or_added_by_others_are_left_alone(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render() == 0
    (project / "out" / name).write_text("mine\n")
    before = everything(project / "out")
    capsys.readouterr()
    assert render() == 1
    shown = capsys.readouterr().err
    assert f"changed or added since it was written: {name}; nothing was written" in shown
    assert everything(project / "out") == before


def test_a_folder_with_other_files_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "out").mkdir()
    for number in range(5):
        (project / f"out/file{number}").touch()
    assert render() == 1
    assert "by" not in capsys.readouterr().out
    (project / "elsewhere").mkdir()
    (project / "link").symlink_to("elsewhere")
    assert main.run(["check", "site.yml", "--render", "link"]) == 1
    assert main.run(["check", "site.yml", "--render", "no/such/folder"]) == 1
    assert main.run(["check", "site.yml", "--render", "site.yml"]) == 1
    errors = capsys.readouterr().err
    assert "link: is not a folder; nothing was written" in errors
    assert "folder no/such is missing; nothing was written" in errors
    assert not list((project / "elsewhere").iterdir())


def test_a_list_naming_other_files_does_not_delete_them(project: Path) -> None:
    (project / "out").mkdir()
    (project / "precious").write_text("mine\n")
    (project / "out" / LIST).write_text(json.dumps({"../precious": "x", "/etc/passwd": "y"}))
    assert render() == 0
    assert (project / "precious").read_text() == "mine\n"
    assert Path("/etc/passwd").exists()


def test_a_link_added_to_the_folder_is_not_followed(project: Path) -> None:
    assert render() == 0
    (project / "precious").mkdir()
    (project / "precious/settings").write_text("mine\n")
    app = project / "out/web1/etc/app"
    (app / "settings").unlink()
    app.rmdir()
    app.symlink_to(project / "precious")
    assert render() == 1
    assert (project / "precious/settings").read_text() == "mine\n"


def test_an_interrupted_run_does_not_block_the_next(project: Path) -> None:
    assert render() == 0
    (project / "out/web1" / SITE).unlink()
    assert render() == 0
    assert (project / "out/web1" / SITE).is_file()
