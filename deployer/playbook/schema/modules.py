"""The modules of tasks, with the same arguments as in Ansible."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from deployer.model import Value
from deployer.playbook.schema import values
from deployer.playbook.schema.models import Check, Misplaced, Strict, field
from deployer.playbook.schema.types import (
    Account,
    Accounts,
    Argv,
    Content,
    Directory,
    Domain,
    FilePath,
    KeyType,
    Line,
    Listens,
    Mode,
    Number,
    Packages,
    Text,
    Unit,
)
from deployer.playbook.schema.values import InvalidValue
from deployer.playbook.yaml.source import nearest
from deployer.text.numbers import is_number

_BACKUP = "every apply keeps the previous state; deployer rollback restores it"
_FORCE = "a file that differs is always written"
_VALIDATE = "the proxy's own config test runs before each reload; notify its handler"
_NO_LABELS = "SELinux labels and file attributes are left as they are"
_REFRESH = "the package lists are refreshed when a package is missing from them"
_RESTART = (
    "a plan cannot determine whether it is done; notify a handler that does it, "
    "or write state: started"
)


def _word(
    what: str, known: Mapping[str, str], refused: Mapping[str, str] | None = None
) -> Callable[[Value], str]:
    """A check for one of several keywords; `known` maps each to its canonical one."""

    def check(value: Value) -> str:
        if isinstance(value, str) and value in known:
            return known[value]
        why = (refused or {}).get(str(value), "") or nearest(str(value), known)
        raise InvalidValue(
            value, what, why or f"use one of {', '.join(dict.fromkeys(known.values()))}"
        )

    return check


def _same(*words: str) -> dict[str, str]:
    return {word: word for word in words}


class Module(Strict):
    """The arguments of a module; `synonyms` maps aliases to its keys."""

    canonical: ClassVar[str]
    synonyms: ClassVar[Mapping[str, str]] = {}


PackageState = Annotated[
    str,
    Check(
        _word(
            "a package's state",
            _same("present", "absent") | {"installed": "present", "removed": "absent"},
            {
                "latest": "the latest version may change between plan and apply; "
                "write state: present",
                "build-dep": "write the names of the packages",
                "fixed": "write the names of the packages",
            },
        ),
        enum=["present", "absent"],
    ),
]


class Package(Module):
    """Packages that are installed or absent."""

    canonical: ClassVar[str] = "package"
    name: Packages = field(description="A name, or a list of them.")
    state: PackageState = field("present", description="Whether they are installed.")
    synonyms: ClassVar[Mapping[str, str]] = {"pkg": "name"}
    refused: ClassVar[Mapping[str, str]] = {
        "update_cache": _REFRESH,
        "cache_valid_time": _REFRESH,
        "upgrade": "a plan cannot determine what it would change",
        "purge": "remove further files with file and state: absent",
        "autoremove": "list every package that should be absent",
        "install_recommends": "recommended packages are not installed",
        "deb": "install it from a repository",
        "force": "an apply never forces the package manager",
        "use": "the host's package manager is used",
        "default_release": "set it in the host's apt preferences",
        "allow_downgrade": "an apply never downgrades",
    }


class _Owned(Module):
    mode: Mode | None = field(None, description='Four octal digits in quotes, "0644".')
    owner: Account | None = field(None, description="The owner, as a name or number.")
    group: Account | None = field(None, description="The group, as a name or number.")
    refused: ClassVar[Mapping[str, str]] = {
        "backup": _BACKUP,
        "force": _FORCE,
        "validate": _VALIDATE,
        "remote_src": "only files of the controller are copied; use a guarded command",
        "unsafe_writes": "files are replaced atomically",
        "attributes": _NO_LABELS,
        "attr": _NO_LABELS,
        "setype": _NO_LABELS,
        "seuser": _NO_LABELS,
        "selevel": _NO_LABELS,
        "serole": _NO_LABELS,
        "recurse": "a task manages one path; copy a folder, or name the paths in loop",
        "follow": "links are managed separately; give the path of the target",
        "local_follow": "links inside a copied folder are followed",
        "decrypt": "keep secrets in a vars_files file with secret: true",
        "checksum": "copied files are always compared by checksum",
        "modification_time": "timestamps are not managed",
        "access_time": "timestamps are not managed",
        "newline_sequence": "templates keep their line endings",
        "trim_blocks": "templates are rendered as Ansible does by default: trim_blocks is on",
        "lstrip_blocks": "write {%- to remove the whitespace before a block",
        "block_start_string": "templates use Jinja's default delimiters",
        "output_encoding": "files are written in UTF-8",
    }


def _copy_mode(value: object) -> str:
    return "preserve" if value == "preserve" else values.mode(value)


class Copy(_Owned):
    """A file or folder of the controller, or a text, copied to the host."""

    canonical: ClassVar[str] = "copy"
    dest: FilePath
    src: Line | None = field(None, description="A file or folder, searched in files/.")
    content: Content | None = field(None, description="The content of the file.")
    mode: Annotated[str, Check(_copy_mode, type="string")] | None = field(
        None, description='Four octal digits in quotes, "0644", or preserve.'
    )
    directory_mode: Mode | None = field(
        None, description="The mode of folders, if src is a folder."
    )

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        if "src" in node and "content" in node:
            yield Misplaced("content", "copy takes 'src' or 'content', not both")
        if "src" not in node and "content" not in node and not set(node) - set(cls.fields()):
            yield Misplaced(None, "copy requires 'src' or 'content'")
        if "content" in node and str(node.get("dest", "")).endswith("/"):
            yield Misplaced("dest", "with 'content', 'dest' must be a file, not a folder")
        if "content" in node and "directory_mode" in node:
            yield Misplaced("directory_mode", "'directory_mode' requires a folder as 'src'")


class Template(_Owned):
    """A Jinja2 template, rendered for the host."""

    canonical: ClassVar[str] = "copy"
    src: Line = field(description="A template, searched in templates/.")
    dest: FilePath


FileState = Annotated[
    str,
    Check(
        _word(
            "a state",
            _same("directory", "link", "absent", "file"),
            {
                "touch": "it changes a timestamp at every run; use copy with content",
                "hard": "hard links are not managed; write state: link",
            },
        ),
        enum=["directory", "link", "absent", "file"],
    ),
]


class File(_Owned):
    """A folder, a link, a path that must not exist, or the mode and owner of a file."""

    canonical: ClassVar[str] = "file"
    path: FilePath
    state: FileState = field("file", description="What is at the path.")
    src: Line | None = field(None, description="state: link: the target of the link.")
    synonyms: ClassVar[Mapping[str, str]] = {"dest": "path", "name": "path"}

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        state = node.get("state", "file")
        if state == "link" and "src" not in node:
            yield Misplaced(None, "state: link requires 'src', its target")
        if isinstance(state, str) and state in ("directory", "absent", "file") and "src" in node:
            yield Misplaced(
                "src", "'src' requires state: link", "use copy to copy a file to the host"
            )
        if state in ("link", "absent"):
            for key in ("mode", "owner", "group"):
                if key in node:
                    yield Misplaced(key, f"'{key}' has no effect with state: {state}")
        if state == "file" and not {"mode", "owner", "group"} & set(node):
            yield Misplaced(
                None,
                "a file without 'state', 'mode' or 'owner' changes nothing",
                "add state: directory",
            )


ServiceState = Annotated[
    str,
    Check(
        _word(
            "a service's state",
            _same("started", "stopped", "restarted", "reloaded"),
            {"running": "write state: started"},
        ),
        enum=["started", "stopped", "restarted", "reloaded"],
    ),
]


class Service(Module):
    """A systemd unit: started or stopped, enabled at boot or not."""

    canonical: ClassVar[str] = "service"
    name: Unit = field(description="A unit of systemd.")
    state: ServiceState | None = field(
        None, description="restarted and reloaded are for handlers only."
    )
    enabled: bool | None = field(None, description="Whether it starts at boot.")
    listens: Listens | None = field(
        None,
        description="The ports and unix sockets of the service, [] for none: it counts as started "
        "only if its own processes listen there.",
    )
    synonyms: ClassVar[Mapping[str, str]] = {"service": "name", "unit": "name"}
    refused: ClassVar[Mapping[str, str]] = {
        "daemon_reload": "systemd is reloaded automatically if a unit file has changed",
        "daemon_reexec": "systemd is never restarted",
        "masked": "a unit is enabled or not; link it to /dev/null with file to mask it",
        "force": "systemctl manages the links of a unit",
        "scope": "only system units are managed, not user units",
        "no_block": "an apply waits until the unit has started",
        "sleep": "an apply waits until the unit has started",
        "pattern": "systemd knows whether the unit runs",
        "runlevel": "systemd has no runlevels",
        "arguments": "write them into the unit",
        "args": "write them into the unit",
        "use": "only systemd is supported",
    }

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        if not {"state", "enabled"} & set(node) and not set(node) - set(cls.fields()):
            yield Misplaced(None, "a service requires 'state' or 'enabled'")
        if "listens" in node and node.get("state") != "started":
            yield Misplaced("listens", "'listens' requires state: started")


class User(Module):
    """An account of the host."""

    canonical: ClassVar[str] = "user"
    name: Account = field(description="The name of the account.")
    uid: Number | None = field(None, description="Its number.")
    group: Account | None = field(None, description="Its primary group.")
    groups: Accounts | None = field(None, description="Further groups.")
    append: bool | None = field(None, description="Keep the groups that are not listed.")
    home: FilePath | None = field(None, description="Its home directory.")
    shell: FilePath | None = field(None, description="Its login shell.")
    comment: Line | None = field(None, description="Its full name or purpose.")
    system: bool | None = field(None, description="Create a system account.")
    create_home: bool | None = field(None, description="Create the home directory.")
    state: Literal["present", "absent"] = field(
        "present", description="Whether the account exists."
    )
    synonyms: ClassVar[Mapping[str, str]] = {"user": "name", "createhome": "create_home"}
    refused: ClassVar[Mapping[str, str]] = {
        "password": "an account of a service needs no password",
        "update_password": "an account of a service needs no password",
        "remove": "the home is kept; remove it with file and state: absent",
        "force": "the home is kept; remove it with file and state: absent",
        "generate_ssh_key": "a plan cannot know the key; copy one",
        "move_home": "the home is not moved",
        "non_unique": "two accounts with one id are the same account",
        "password_lock": "an account of a service needs no password",
    }

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        if "append" in node and "groups" not in node:
            yield Misplaced("append", "'append' requires 'groups'")
        if node.get("state") == "absent":
            for key in node:
                if key not in ("name", "state") and key in cls.fields():
                    yield Misplaced(key, f"'{key}' has no effect with state: absent")


def _environment(value: object) -> dict[str, str]:
    import re

    if not isinstance(value, dict):
        raise InvalidValue(value, "an environment", "write NAME: VALUE")
    for name, each in value.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InvalidValue(name, "the name of an environment variable")
        if isinstance(each, (dict, list)) or each is None or "\0" in str(each):
            raise InvalidValue(name, "an environment variable with a string value")
    return {
        name: ("true" if each else "false") if isinstance(each, bool) else str(each)
        for name, each in value.items()
    }


class Certificate(Module):
    """A certificate that the host orders if it is missing or due for renewal."""

    canonical: ClassVar[str] = "certificate"
    domain: Domain
    names: list[Domain] = field(min_length=1)
    directory: Directory
    key_type: KeyType = "ecdsa-p256"
    profile: Line | None = None
    staging_first: bool = False
    serial: Line | None = None
    forced: bool = False
    strict: bool = False


class Command(Module):
    """A command without a shell, run unless a guard shows that it is done."""

    canonical: ClassVar[str] = "command"
    cmd: Annotated[tuple[str, ...], Check(values.split_command, type="string")] | None = field(
        None, description="The command line."
    )
    argv: list[Text] | None = field(None, description="Its arguments as a list.", min_length=1)
    chdir: FilePath | None = field(None, description="The folder to run it in.")
    creates: FilePath | None = field(None, description="Skip if this path exists.")
    removes: FilePath | None = field(None, description="Skip if this path is missing.")
    unless: Argv | None = field(None, description="Skip if this command exits with 0.")
    environment: Annotated[dict[str, str], Check(_environment, type="object")] | None = field(
        None, description="Environment variables."
    )
    refused: ClassVar[Mapping[str, str]] = {
        "stdin": "a command gets no input; let it read a file that a task copies",
        "stdin_add_newline": "a command gets no input",
        "strip_empty_ends": "a command's output is shown unchanged",
        "expand_argument_vars": "there is no shell to expand variables",
        "warn": "it has no effect",
        "executable": "there is no shell",
    }

    @classmethod
    def combination_errors(cls, node: Mapping[str, object]) -> Iterator[Misplaced]:
        if "cmd" in node and "argv" in node:
            yield Misplaced("argv", "command takes 'cmd' or 'argv', not both")
        if "cmd" not in node and "argv" not in node and not set(node) - set(cls.fields()):
            yield Misplaced(None, "command requires 'cmd' or 'argv'")


def _kept(value: object) -> int:
    number = int(value) if isinstance(value, str) and is_number(value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 2 <= number <= 100:
        why = "2 (the active and the previous one) to 100"
        raise InvalidValue(value, "a number of releases to keep", why)
    return number


def _within(value: object) -> str:
    if not isinstance(value, str) or not value or value[0] == "/" or ".." in value.split("/"):
        raise InvalidValue(value, "a path within the release", "it must be relative, without ..")
    return values.file_path("/" + value)[1:]


class Release(Module):
    """A folder of the controller as a release on the host, and the link to the active release.

    Below `dest`, each release has a folder ``releases/ID``, and ``current`` links to one of them.
    """

    canonical: ClassVar[str] = "release"
    src: Line = field(description="The folder, searched in files/.")
    dest: FilePath = field(description="The folder of the service.")
    owner: Account | None = field(None, description="The owner, as a name or number.")
    group: Account | None = field(None, description="The group, as a name or number.")
    keep: Annotated[int, Check(_kept, type=["integer", "string"], minimum=2)] = 5
    exclude: list[Text] | None = field(None, description="Patterns of names to leave out: *.pyc.")
    build: list[Text] | None = field(None, description="A command for each new release.")
    creates: Annotated[str, Check(_within, type="string")] | None = None
    environment: Annotated[dict[str, str], Check(_environment, type="object")] | None = field(
        None, description="Environment variables."
    )


MODULES: Mapping[str, type[Module]] = {
    "package": Package,
    "apt": Package,
    "copy": Copy,
    "template": Template,
    "file": File,
    "service": Service,
    "systemd": Service,
    "systemd_service": Service,
    "user": User,
    "command": Command,
    "certificate": Certificate,
    "release": Release,
}

_USE_FILES = "write the whole file with copy or template"
#: Unsupported modules of Ansible, and what to use instead.
REFUSED_MODULES: Mapping[str, str] = {
    "shell": "there is no shell: use command, or copy a script and run it",
    "raw": "there is no shell: use command",
    "script": "copy the script, and run it with command",
    "lineinfile": _USE_FILES,
    "blockinfile": _USE_FILES,
    "replace": _USE_FILES,
    "ini_file": _USE_FILES,
    "assemble": _USE_FILES,
    "set_fact": "use vars",
    "debug": "deployer plan shows what would be written",
    "assert": "use when, or the filter mandatory",
    "fail": "use the filter mandatory",
    "include_role": "add the role to roles",
    "import_role": "add the role to roles",
    "include_vars": "use vars_files",
    "include": "write import_tasks",
    "meta": "handlers run once at the end of their stage",
    "setup": "facts are always gathered",
    "gather_facts": "facts are always gathered",
    "stat": "a plan is made before anything runs; use creates or removes",
    "uri": "use verify on a site",
    "wait_for": "use verify on a site",
    "get_url": "copy the file from the controller, or use command with creates",
    "unarchive": "use command with creates",
    "git": "use command with creates",
    "dnf": "use package; only apt is supported",
    "yum": "use package; only apt is supported",
    "pip": "use command with creates",
    "group": "user creates an account's own group",
    "cron": "copy a file to /etc/cron.d",
    "apt_repository": "copy a file to /etc/apt/sources.list.d",
    "apt_key": "copy the key to /etc/apt/keyrings",
    "reboot": "a host is never rebooted",
    "pause": "an apply never waits for input",
    "ping": "use deployer plan to reach every host",
}
