"""The parts of the lab that need neither root nor a host."""

from __future__ import annotations

import fcntl
import ipaddress
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from deployer.cli.lab import lab as lab_command
from deployer.errors import LabError
from deployer.lab import guard
from deployer.lab.disk import Disk
from deployer.lab.folders import cache_folder
from deployer.lab.images import SUITES, image
from deployer.lab.lab import up
from deployer.lab.network import Network, free_number
from deployer.lab.requirements import require


def networks(*texts: str) -> list[ipaddress.IPv4Network]:
    return [ipaddress.IPv4Network(text) for text in texts]


@pytest.mark.parametrize(
    ("taken", "number"),
    [
        ((), 0),
        (("10.213.0.0/24", "10.213.1.7/32", "192.0.2.0/24"), 2),
        (("10.213.0.0/22",), 4),
        (("10.0.0.0/8", "0.0.0.0/0"), 0),
    ],
)
def test_a_subnet_is_free_unless_a_more_specific_route_uses_it(
    taken: tuple[str, ...], number: int
) -> None:
    assert free_number(networks(*taken)) == number


def test_all_subnets_can_be_in_use() -> None:
    with pytest.raises(LabError, match="All subnets"):
        free_number(networks("10.213.0.0/16"))


def test_missing_tools_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError) as caught:
        require()
    problem, hint = str(caught.value).splitlines()
    assert "systemd-nspawn, mmdebstrap, " in problem
    assert hint.startswith("On Debian and Ubuntu: apt-get install systemd-container mmdebstrap")


def test_root_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match="need root"):
        require()


def test_an_unknown_image_is_refused_with_a_list_of_images() -> None:
    with pytest.raises(LabError) as caught:
        image("debian-9", progress=print)
    assert all(name in str(caught.value) for name in SUITES)


@pytest.mark.parametrize("name", ["", "../etc", "a/b", ".hidden", "a" * 64])
def test_a_name_is_not_a_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.lab.lab.require", lambda: None)
    with pytest.raises(LabError, match="Invalid lab name"):
        up(1, name=name)


def test_a_cache_path_that_overlays_cannot_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYER_CACHE", "/tmp/a,b")
    with pytest.raises(LabError, match="DEPLOYER_CACHE"):
        cache_folder()


def test_a_new_disk_has_the_files_of_the_host_and_the_modes_of_the_image(tmp_path: Path) -> None:
    below, upper = tmp_path / "image", tmp_path / "upper"
    for folder, mode in {"etc/ssh": 0o755, "etc/systemd/network": 0o755, "root": 0o700}.items():
        (below / folder).mkdir(parents=True)
        (below / folder).chmod(mode)
    below.chmod(0o755)
    disk = Disk(upper=upper, image=below)
    network = Network(bridge="dl-abc", number=3)
    names = {"web1": "10.213.3.2", "web2": "10.213.3.3"}
    disk.create(
        name="web2", number=2, network=network, neighbours=names, authorized_key="ssh-ed25519 A\n"
    )

    def mode_of(path: str) -> str:
        return f"{stat.S_IMODE((upper / path).stat().st_mode):04o}"

    assert (upper / "etc/hostname").read_text() == "web2\n"
    assert "10.213.3.2 web1\n10.213.3.3 web2\n" in (upper / "etc/hosts").read_text()
    unit = (upper / "etc/systemd/network/10-lab.network").read_text()
    assert "Address=10.213.3.3/24\n" in unit
    assert disk.host_key().startswith("ssh-ed25519 AAAA")
    assert [mode_of(path) for path in (".", "root", "root/.ssh", "etc/machine-id")] == [
        "0755",
        "0700",
        "0700",
        "0444",
    ]
    assert mode_of("etc/ssh/ssh_host_ed25519_key") == "0600"


def test_a_lab_is_held_while_its_lock_is(tmp_path: Path) -> None:
    assert not guard.is_held(tmp_path)
    with (tmp_path / "held").open("w") as lock:
        assert not guard.is_held(tmp_path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert guard.is_held(tmp_path)
    assert not guard.is_held(tmp_path)


def test_a_hold_ends_with_its_guard(tmp_path: Path) -> None:
    hold = guard.hold(tmp_path)
    assert guard.is_held(tmp_path)
    assert hold.guard.poll() is None
    hold.release()
    hold.release()
    assert hold.guard.poll() is not None
    subprocess.run(["flock", "--wait", "5", str(tmp_path / "held"), "true"], check=True)


def test_labs_are_listed_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEPLOYER_CACHE", str(tmp_path))
    assert CliRunner().invoke(lab_command, ["status"]).output == "no lab is up\n"
    result = CliRunner().invoke(lab_command, ["ssh", "--name", "nothing", "web1"])
    assert isinstance(result.exception, LabError)
    assert "Unknown lab: 'nothing'" in str(result.exception)


def test_the_name_of_a_package_is_no_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEPLOYER_CACHE", str(tmp_path))
    with pytest.raises(LabError, match="Invalid name of a package: 'a;b'"):
        image("debian-12", packages=["a;b"], progress=print)
