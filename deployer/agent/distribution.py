"""This host's distribution: Ansible's facts about it, and what people and deployer need to know.

Ansible looks for words in several files in a certain order, and so does this module, because
playbooks compare its facts. Each function takes the folder of the file system, for tests.
"""

from __future__ import annotations

import os

from deployer.agent.children import CHILD_ENVIRONMENT
from deployer.agent.files import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.settings import Json

    Named = dict[str, str]

_FAMILIES = {
    "RedHat": (
        *("RedHat", "Fedora", "CentOS", "OracleLinux", "AlmaLinux", "Rocky", "Amazon", "EuroLinux"),
        *("CloudLinux", "Scientific", "Virtuozzo", "TencentOS", "openEuler"),
    ),
    "Debian": (
        *("Debian", "Ubuntu", "Linux Mint", "Devuan", "Kali", "Parrot", "SteamOS", "Pop!_OS"),
        *("KDE neon", "Pardus GNU/Linux", "OSMC", "Linux Mint Debian Edition"),
    ),
    "Suse": ("openSUSE Leap", "openSUSE Tumbleweed", "openSUSE", "SLES", "SLED", "SL-Micro"),
}
_FAMILY_OF = {name: family for family, names in _FAMILIES.items() for name in names}
#: Words in os-release and lsb-release, and Ansible's names; the first one that occurs counts.
_DEBIAN_LIKE = (
    ("Debian", "Debian"),
    ("Raspbian", "Debian"),
    ("Ubuntu", "Ubuntu"),
    ("SteamOS", "SteamOS"),
    ("Kali", "Kali"),
    ("Parrot", "Parrot"),
    ("Devuan", "Devuan"),
    ("Mint", "Linux Mint"),
    ("LMDE", "Linux Mint Debian Edition"),
)
_UNKNOWN = "NA"


def distribution_facts(root: str = "") -> Json:
    """Ansible's facts about the distribution."""
    text = _os_release_text(root)
    release = assignments(text)
    guessed = {
        "name": release.get("ID", "").capitalize() or "OtherLinux",
        "version": _version(release, root) or _UNKNOWN,
        "release": _codename(release),
    }
    found = {**guessed, **_named(text, release, root)}
    major = guessed["version"].partition(".")[0]
    return {
        "ansible_distribution": found["name"],
        "ansible_distribution_release": found["release"],
        "ansible_distribution_version": found["version"],
        "ansible_distribution_major_version": major,
        "ansible_os_family": _FAMILY_OF.get(found["name"], found["name"]),
    }


def system(tools: list[str], root: str = "") -> Json:
    """The distribution's own name and version, its relatives, and those of `tools` it lacks."""
    release = assignments(_os_release_text(root))
    keys = ("UBUNTU_CODENAME", "DEBIAN_CODENAME", "VERSION_CODENAME")
    return {
        "name": release.get("NAME") or release.get("ID") or "Linux",
        "version": release.get("VERSION_ID") or release.get("BUILD_ID", ""),
        "like": [release.get("ID", ""), *release.get("ID_LIKE", "").split()],
        "codenames": [release[key] for key in keys if release.get(key)],
        "missing": [tool for tool in tools if not _has_program(tool, root)],
    }


def assignments(text: str) -> dict[str, str]:
    """The variables that os-release(5) assigns, as a shell reads them."""
    found = {}
    for line in text.splitlines():
        key, is_assigned, value = line.strip().partition("=")
        if is_assigned and not key.startswith("#"):
            quote = value[:1]
            if quote in ("'", '"'):
                value = value[1:].rpartition(quote)[0]
            if quote != "'":
                for character in '\\"$`':
                    value = value.replace("\\" + character, character)
            found[key] = value
    return found


def _os_release_text(root: str) -> str:
    return read_text(root + "/etc/os-release") or read_text(root + "/usr/lib/os-release")


def _version(release: dict[str, str], root: str) -> str:
    """The version; Debian's os-release has 12, and /etc/debian_version 12.9."""
    version = release.get("VERSION_ID", "")
    if release.get("ID") == "debian":
        exact = read_text(root + "/etc/debian_version").strip()
        if exact.count(".") > version.count(".") or not version:
            return exact
    return version


def _codename(release: dict[str, str]) -> str:
    for key in ("VERSION_CODENAME", "UBUNTU_CODENAME"):
        if key in release:
            return release[key]  # it may be empty
    inside = _in_parentheses(release.get("VERSION", ""))
    return inside if inside and not any(map(str.isdigit, inside)) else _UNKNOWN


def _in_parentheses(text: str) -> str:
    _, _, rest = text.partition("(")
    inside, is_closed, _ = rest.partition(")")
    return inside if is_closed else ""


def _named(text: str, release: dict[str, str], root: str) -> Named:
    """What a file says of the distribution that Ansible recognises it by."""
    for find in (_red_hat, _alpine, _arch, _suse, _debian, _other):
        found = find(text, release, root)
        if found:
            return found
    return {}


def _red_hat(text: str, release: dict[str, str], root: str) -> Named:
    if read_text(root + "/etc/oracle-release").startswith("Oracle Linux"):
        return {"name": "OracleLinux"}
    if "CentOS Stream" in read_text(root + "/etc/centos-release"):
        return {"name": "CentOS", "release": "Stream"}
    words = read_text(root + "/etc/redhat-release")
    if words.strip():
        return {"name": "RedHat" if "Red Hat" in words else words.split()[0]}
    return {"name": "Amazon"} if "Amazon" in text else {}


def _alpine(text: str, release: dict[str, str], root: str) -> Named:
    version = read_text(root + "/etc/alpine-release").strip()
    return {"name": "Alpine", "version": version} if version else {}


def _arch(text: str, release: dict[str, str], root: str) -> Named:
    is_arch = os.path.exists(root + "/etc/arch-release") or "Arch Linux" in text
    return {"name": "Archlinux"} if is_arch else {}


def _suse(text: str, release: dict[str, str], root: str) -> Named:
    if "suse" not in text.lower():
        return {}
    version = release.get("VERSION_ID", "")
    minor = version.partition(".")[2]
    return {"name": release.get("NAME", "SUSE"), "release": minor, "version": version or _UNKNOWN}


def _debian(text: str, release: dict[str, str], root: str) -> Named:
    for content in (text, read_text(root + "/etc/lsb-release")):
        name = next((name for word, name in _DEBIAN_LIKE if word in content), "")
        if name == "Debian":
            codename = _in_parentheses(content.partition("PRETTY_NAME=")[2])
            return {"name": name, "release": codename} if codename else {"name": name}
        if name in ("Kali", "Parrot") and "DISTRIB_RELEASE=" in content:
            return {"name": name, "release": assignments(content)["DISTRIB_RELEASE"]}
        if name:
            return {"name": name}
    return {}


def _other(text: str, release: dict[str, str], root: str) -> Named:
    found = {"name": release["NAME"]} if "NAME" in release else {}
    if "VERSION" in release and not _version(release, root):
        found["version"] = release["VERSION"]
    return found


def _has_program(name: str, root: str) -> bool:
    folders = CHILD_ENVIRONMENT["PATH"].split(":")
    return any(os.access(f"{root}{folder}/{name}", os.X_OK) for folder in folders)
