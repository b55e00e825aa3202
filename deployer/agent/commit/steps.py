"""One change at a time."""

from __future__ import annotations

import binascii
import os
import stat

from deployer.agent import settings
from deployer.agent.accounts import group_id, user_id
from deployer.agent.commit.manifest import extended_attributes
from deployer.agent.commit.replace import (
    change_attributes,
    make_folder,
    make_parents,
    remove_entry,
    replace_file,
    replace_link,
)
from deployer.agent.errors import StepError, os_words
from deployer.agent.files import (
    look_at,
    remove_tree,
    type_of,
    write_all,
)
from deployer.agent.kinds import ADDED_KINDS, PATH_KINDS, added_kind
from deployer.agent.observe import user_attributes
from deployer.agent.proxies import BY_UNIT
from deployer.agent.reach import refusal
from deployer.agent.services import Systemd, service_name
from deployer.agent.settings import COMMAND_LIMIT_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.children import Children
    from deployer.agent.packages import Apt
    from deployer.agent.session import Session
    from deployer.agent.settings import Entry, Json, Manifest


class Steps:
    """Makes single changes; `before` is the manifest from when the commit began."""

    def __init__(self, children: Children, apt: Apt, before: Manifest, session: Session) -> None:
        self._session = session
        self._children = children
        self._apt = apt
        self._before = before
        self._systemd = Systemd(children)
        self._units_changed: list[str] = []  # paths

    def run(self, change: Json) -> None:
        """Make one change other than an installation of packages."""
        kind, _, name = change["resource_id"].partition(":")
        if kind in PATH_KINDS and "/systemd/" in name:
            self._units_changed.append(name)
        try:
            if kind in ADDED_KINDS:
                added_kind(kind).make(self._session, name, change["after"])
            else:
                getattr(self, "_" + kind)(name, change["after"], change)
        except OSError as error:
            place = error.filename if str(error.filename).startswith("/") else name
            raise StepError(f"{place}: {os_words(error)}") from None

    def install(self, changes: list[Json]) -> None:
        """Install the packages of some changes at once."""
        names = {c["resource_id"].partition(":")[2]: c["after"].get("version", "") for c in changes}
        self._apt.install(names)

    def reload_units_if_changed(self) -> None:
        changed, self._units_changed = self._units_changed, []
        if changed:
            from deployer.agent.unit_files import check_unit_files

            check_unit_files(self._children, changed, self._say)
            self._systemd.reload_units()

    def check_before(self, action: str, unit: str) -> None:
        """Check what a proxy's configuration test does not, before it loads its configuration.

        Raises:
            StepError: it could not load it.
        """
        if settings.READINESS and service_name(unit) in BY_UNIT:
            from deployer.agent.proxies.readiness import check

            check(self._children, unit, action, self._say)

    def _say(self, text: str) -> None:
        if self._session:
            self._session.event("said", text=text)

    # paths

    def _space_for(self, path: str, wanted: str) -> os.stat_result | None:
        """What is at `path`; only something that this commit created may have a different type."""
        info = look_at(path)
        if info is None:
            return None
        found = type_of(info)
        if found != wanted and (path in self._before or found == "directory"):
            raise StepError(f"{path} is a {found}, but should be a {wanted}")
        return info

    def _owned(self, after: Json, info: os.stat_result | None, mode: int) -> Entry:
        """Mode and owner: the desired ones, else the present ones, else the defaults."""
        owner, group = after.get("owner"), after.get("group")
        return {
            "m": int(after["mode"], 8) if after.get("mode") else _mode_of(info, mode),
            "u": user_id(owner) if owner else info.st_uid if info else os.geteuid(),
            "g": group_id(group) if group else info.st_gid if info else os.getegid(),
        }

    def _file(self, path: str, after: Json | None, change: Json) -> None:
        if after is None:
            remove_tree(path)
            return
        info = self._space_for(path, "file")
        regular = info if info is not None and stat.S_ISREG(info.st_mode) else None
        like = self._owned(after, regular, 0o644)
        if regular:
            like["x"] = extended_attributes(path)
        if "after_content_b64" in change:
            content = binascii.a2b_base64(change["after_content_b64"])
            make_parents(path, like["u"])
            replace_file(path, lambda descriptor: write_all(descriptor, content), like)
        elif regular:
            change_attributes(path, like)
        else:
            raise StepError(f"there is no file at {path} to change the owner or mode of")

    def _directory(self, path: str, after: Json | None, change: Json) -> None:
        if after is None and change.get("if_empty"):
            remove_entry(path)
            return
        if after is None:
            remove_tree(path)
            return
        info = self._space_for(path, "directory")
        like = self._owned(after, info, 0o755)
        if info is None:
            make_parents(path, like["u"])
            make_folder(path, like)
        else:
            like["x"] = extended_attributes(path)
            change_attributes(path, {**like, "t": "directory"})

    def _link(self, path: str, after: Json | None, change: Json) -> None:
        if after is None:
            remove_tree(path)
            return
        if self._space_for(path, "link") is None:
            make_parents(path, os.geteuid())
        replace_link(path, after["target"])

    # packages, services, users, commands

    def _package(self, name: str, after: Json | None, change: Json) -> None:
        if after is None:
            self._apt.remove([name])
        else:
            self._apt.install({name: after.get("version", "")})

    def _service(self, name: str, after: Json | None, change: Json) -> None:
        self.reload_units_if_changed()
        wanted = after if after is not None else {"enabled": False, "active": False}
        if self._systemd.show([name])[name].get("LoadState") == "not-found":
            raise StepError(f"the unit {name} does not exist on the host")
        if wanted.get("enabled") is not None:
            self._systemd.act("enable" if wanted["enabled"] else "disable", name)
        if wanted.get("active") is not None:
            if wanted["active"]:
                self.check_before("start", name)
            self._systemd.act("start" if wanted["active"] else "stop", name)
            if wanted["active"]:
                self._systemd.must_be_active(name, "start")

    def _user(self, name: str, after: Json | None, change: Json) -> None:
        if after is None:
            self._children.succeed(["userdel", name])
            return
        exists = user_attributes(name) is not None
        words = ["usermod" if exists else "useradd"]
        for key, option in (("uid", "--uid"), ("group", "--gid"), ("shell", "--shell"),
                            ("comment", "--comment")):  # fmt: skip
            if after.get(key) is not None:
                words += [option, str(after[key])]
        if after.get("home") is not None:
            words += ["--home" if exists else "--home-dir", after["home"]]
        if after.get("groups") is not None:
            words += ["--groups", ",".join(after["groups"])]
        if not exists and after.get("group") == name and not _has_group(name):
            # An account's own group is created and removed with it.
            words[words.index("--gid") : words.index("--gid") + 2] = ["--user-group"]
        if not exists:
            self._refuse_home(after.get("home") or "/home/" + name, after)
            words += ["--system"] if after.get("system") else []
            words += ["--create-home" if after.get("create_home", True) else "--no-create-home"]
        if len(words) > 1:
            self._children.succeed([*words, name])

    @staticmethod
    def _refuse_home(path: str, after: Json) -> None:
        """useradd(8) creates the home as root, and follows any link on the way to it."""
        why = refusal(path, os.geteuid()) if after.get("create_home", True) else ""
        if why:
            raise StepError(why)

    def _command(self, name: str, after: Json | None, change: Json) -> None:
        after = after or {}
        environment = {key: str(value) for key, value in (after.get("environment") or {}).items()}
        code, output = self._children.run(
            list(after["argv"]),
            limit_s=COMMAND_LIMIT_S,
            environment=environment,
            chdir=after.get("chdir"),
        )
        if code != 0:
            raise StepError(f"{after['argv'][0]} ended with exit code {code}", output)


def _has_group(name: str) -> bool:
    import grp

    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _mode_of(info: os.stat_result | None, default: int) -> int:
    return stat.S_IMODE(info.st_mode) if info else default
