"""Rules of Ansible's inventories; tests/integration/ansible compares more with the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.errors import UsageError
from deployer.playbook import load_inventory
from deployer.playbook.inventory.addresses import expand, split_port
from deployer.playbook.inventory.ini import literal
from deployer.playbook.inventory.load import Inventory
from deployer.playbook.yaml.source import SourceFile

SPOT = SourceFile("hosts").spot((1, 1))


def load(folder: Path, text: str, name: str = "hosts") -> Inventory:
    (folder / name).write_text(text)
    return load_inventory([folder / name])


@pytest.mark.parametrize(
    ("text", "names", "port"),
    [
        ("h1:2222", ["h1"], 2222),
        ("[::1]:22", ["::1"], 22),
        ("::1", ["::1"], None),
        ("fe80::1:2", ["fe80::1:2"], None),
        ("[h1]:22", ["h1"], 22),
        ("10.0.0.1:22", ["10.0.0.1"], 22),
        ("web[08:10]:22", ["web08", "web09", "web10"], 22),
        ("db-[a:c].eu", ["db-a.eu", "db-b.eu", "db-c.eu"], None),
        ("x[1:5:2]y[a:b]", ["x1ya", "x1yb", "x3ya", "x3yb", "x5ya", "x5yb"], None),
        ("2001:db8::[1:2]", ["2001:db8::1", "2001:db8::2"], None),
        ("h1:2222:", ["h1:2222:"], None),
    ],
)
def test_names(text: str, names: list[str], port: int | None) -> None:
    assert expand(text, SPOT) == (names, port)


@pytest.mark.parametrize("text", ["h:0", "h:70000", "h[1", "h[a:]", "h[01:3]", "h[1:2:0]", "-h"])
def test_names_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        expand(text, SPOT)


def test_a_list_of_hosts_has_no_ranges() -> None:
    assert split_port("[::1]:22", ranges=False) == ("::1", 22)
    assert split_port("web[1:2]:22", ranges=False) == ("web[1:2]:22", None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("007", "007"),
        ("True", True),
        ("true", "true"),
        ("None", None),
        ("(1, 2)", [1, 2]),
        ("('a', (1,))", ["a", [1]]),
        ("{'a': (1,)}", {"a": [1]}),
        ("'5'", "5"),
        ("5 # five", 5),
        ("five # five", "five # five"),
        ("b'x'", "x"),
        ("1j", "1j"),
        ("...", "..."),
        ("[1,", "[1,"),
        ("{{ a }}", "{{ a }}"),
        ("((" * 500, "((" * 500),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_literals_of_ini(text: str, value: object) -> None:
    assert literal(text) == value
    assert type(literal(text)) is type(value)


def test_an_unsafe_value_is_never_a_template(tmp_path: Path) -> None:
    inventory = load(
        tmp_path,
        "web: {hosts: {w1: {ansible_user: x, a: !unsafe '{{ b }}', "
        "c: !unsafe [1, '{{ d }}', {e: '{{ f }}'}]}}}\n",
        "inventory.yml",
    )
    from deployer.playbook.templates.scope import Layer, Scope
    from deployer.playbook.templates.templar import Templar

    scope = Scope((Layer(inventory.hosts["w1"].vars),), templar=Templar())
    assert scope.get("a") == "{{ b }}"
    assert scope.get("c") == [1, "{{ d }}", {"e": "{{ f }}"}]


def test_a_pattern_may_leave_no_host(tmp_path: Path) -> None:
    inventory = load(tmp_path, "[web]\nw1\n[empty]\n[none:children]\nempty\n")
    for pattern in ("empty", "none", "web:!w1", "web:&empty", "~em"):
        assert inventory.select(pattern) == ()
    assert [host.name for host in inventory.select("web,!x*,y*")] == ["w1"]
    for pattern in ("old", "old*", "web:!w2", "~zz", "web[1]", "x*:y*"):
        with pytest.raises(UsageError):
            inventory.select(pattern)


@pytest.mark.parametrize(
    "text",
    [
        "web: {hosts: {w1: }}\n",
        "---\nweb:\n  hosts: w1\n",
        '"web":\n  hosts: {w1: }\n',
        "[web]\nw1\n",
        '{"web": {"hosts": {"w1": null}}}',
        "# c\n; d\n[web]\nw1:22\n",
    ],
)
def test_the_format_of_a_file_without_a_suffix(text: str, tmp_path: Path) -> None:
    assert load(tmp_path, text).groups["web"] == ("w1",)


def test_formats_that_are_not_read(tmp_path: Path) -> None:
    for name, text in (("h.toml", "[web]\n"), ("h", "#!/bin/sh\n"), ("h.yml", "plugin: aws_ec2\n")):
        with pytest.raises(UsageError, match=r"not supported"):
            load(tmp_path, text, name)


def test_a_limit_from_a_file(tmp_path: Path) -> None:
    inventory = load(tmp_path, "[web]\nw1\nw2\nw3\n")
    (tmp_path / "site.retry").write_text("w3\n\nw1\n")
    names = [host.name for host in inventory.select("all", f"@{tmp_path}/site.retry")]
    assert names == ["w1", "w3"]
    with pytest.raises(UsageError, match=r"file of hosts .* does not exist"):
        inventory.select("all", f"@{tmp_path}/none")


def test_a_name_that_is_both_is_noted(tmp_path: Path) -> None:
    inventory = load(tmp_path, "[web]\nweb a=1\nother\n")
    assert "'web' is both a group and a host" in inventory.notes[0]
    assert inventory.hosts["other"].vars["a"] == 1


def test_a_cycle_is_named_with_its_place(tmp_path: Path) -> None:
    text = "[a:children]\nb\n[b:children]\nc\n[c:children]\na\n[c]\nh\n"
    with pytest.raises(UsageError, match=r"hosts:6:1: the group '.' contains itself: . → . → . → "):
        load(tmp_path, text)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "f" * 300 + "/hosts", "/etc/shadow/x"])
def test_names_of_files_that_cannot_exist(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_inventory([tmp_path / name])
    assert "inventory" in str(caught.value)


def test_a_long_list_of_hosts() -> None:
    names = [f"host-number-{n}" for n in range(100)]
    assert list(load_inventory([Path(",".join(names))]).hosts) == names
