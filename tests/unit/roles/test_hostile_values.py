"""Each variable of each built-in role, set to hostile values: refused, or written with its meaning.

The files are read back by the rules of their programs, and compared with those of a harmless value:
they must have the same structure, and the value in its place.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import SourceErrors
from deployer.model import Host
from deployer.playbook import Rendered, RenderOptions, load_inventory, load_playbook, render_host
from deployer.playbook.builtin import roles_path
from deployer.playbook.load.library import LoadedRole
from deployer.playbook.schema.argument_specs import Option, Options
from deployer.proxies import PROXIES
from deployer.sites.model import AuthRequest, Clients, Cors, Headers, Redirect, Site
from tests.support.playbook_project import FACTS, Project
from tests.support.proxies.tokens import READERS
from tests.support.sites.site_case import site
from tests.support.units import environment, settings
from tests.unit.roles.hostile import values

ROLES = sorted(path.name for path in roles_path().iterdir() if path.is_dir())
_HOST_FACTS = {
    **FACTS,
    "ansible_distribution_major_version": "12",
    "ansible_fqdn": "h.example.com",
    "ansible_python_version": "3.11.2",
}
#: Paths on the controller, which are not written to hosts.
_ON_CONTROLLER = ("app_src",)
_ASKED = AuthRequest(
    host="127.0.0.1",
    port=9091,
    path="/zz-asked",
    headers=("X-Zu",),
    sign_in="/zz-login?rd=",
)
_SITE = site(
    domain="stats.example.com",
    tls={"issuer": "internal", "clients": Clients(ca="-----BEGIN X-----\n")},
    aliases=["*.wild.example.com"],
    routes=[
        {"path": "/ws", "websocket": "http://127.0.0.1:7890", "strip_prefix": True},
        {"path": "/api", "upstream": ["http://10.0.0.1:80", "http://10.0.0.2:80"]},
        {
            "path": "/sticky",
            "upstream": ["http://10.0.0.1:80", "http://10.0.0.2:80"],
            "sticky": True,
            "balance": "least_conn",
        },
        {
            "path": "/headers",
            "upstream": "http://127.0.0.1:80",
            "allow": ("192.0.2.0/24",),
            "deny": ("192.0.2.1",),
            "users": (("zz-user", "$6$zzsalt$zzhash"),),
            "request_headers": Headers(set=(("X-Zz", "zz-request"),), remove=("X-Zy",)),
            "response_headers": Headers(set=(("X-Zx", "zz-answer"),), remove=("X-Zw",)),
            "cors": Cors(origins=("https://zz.example",), methods=("ZZ",), expose=("X-Zv",)),
        },
        {"path": "/moved", "redirect": Redirect(to="/zz-target")},
        {"path": "/", "root": "/var/www/stats", "spa": True, "index": "zz-index.html"},
    ],
    trusted_proxies=("192.0.2.0/24",),
    redirects=(("*.wild.example.com", "stats.example.com"),),
)


def _site_of(proxy: str) -> Site:
    """The site with all that a proxy can do."""
    if proxy == "apache":
        return _SITE
    routes = tuple(replace(each, auth=_ASKED) if each.users else each for each in _SITE.routes)
    return replace(_SITE, routes=routes)


_CERTIFICATE = {
    "domain": "stats.example.com",
    "lineage": "stats.example.com",
    "key_type": "ecdsa-p256",
    "names": ["stats.example.com"],
    "directory": "https://ca.example.com/dir",
    "profile": "tlsserver",
    "staging_first": False,
    "serial": "0A",
    "forced": False,
    "strict": False,
    "ca_bundle": "roots",
    "settings": "{}",
    "is_secret": False,
    "dns_credentials": "secret = x",
}
#: Variables that a user cannot set.
_OWN = ("haproxy_site_files", "haproxy_kept")
#: Harmless values, each of which is found again in what is rendered.
_HARMLESS: dict[str, dict[str, Any]] = {
    "websocket_app": {
        "app_name": "zzapp",
        "app_command": ["/usr/bin/app", "zz-argument"],
        "app_port": 8765,
        "app_user": "zzuser",
        "app_group": "zzgroup",
        "app_working_dir": "/srv/zz-workdir",
        "app_health": "/zz-health",
        "app_health_host": "zz-host",
        "app_writable": ["/srv/zz-writable"],
        "app_packages": ["curl"],
        "app_environment": {"TOKEN": "zz-token"},
        "app_src": "app",
        "app_dir": "/opt/zz-folder",
        "app_build": ["make", "zz-build"],
        "app_built": "zz-built",
        "app_restart": "always",
        "app_build_environment": {"TARGET": "zz-target"},
        "app_socket": "/run/zz-socket",
    },
    "goaccess": {
        "domain": "stats.example.com",
        "ws_path": "/wspath",
        "html_dir": "/var/www/html-dir",
        "access_log": "/var/log/access-log",
        "log_format": "VCOMBINED",
    },
    "certbot": {"certbot_certificates": [_CERTIFICATE], "certbot_plugins": ["route53"]},
    "certificate_files": {
        "certificate_files": [
            {
                "domain": "stats.example.com",
                "folder": "/etc/ssl/deployer/stats.example.com",
                "fullchain": "-----BEGIN X-----\n",
                "privkey": "-----BEGIN X-----\n",
            }
        ]
    },
    **{
        name: {
            f"{name}_sites": [proxy.views.view(_site_of(name))],
            **{
                key: value
                for key, value in proxy.views.more_vars([_SITE]).items()
                if key not in _OWN
            },
        }
        for name, proxy in PROXIES.items()
    },
}
_PARTS = {"certbot": [{"certbot_part": part} for part in ("program", "renewal")]}
_HANDLERS = "".join(
    f"    - name: reload {name}\n      service: {{name: {proxy.unit}, state: reloaded}}\n"
    for name, proxy in PROXIES.items()
)


class _Play:
    """A play with one role, loaded once and rendered with many variables."""

    def __init__(self, folder: Path, role: str) -> None:
        self.role = role
        project = Project(folder)
        handlers = "" if role in PROXIES else f"  handlers:\n{_HANDLERS}"
        play = f"- hosts: web\n  roles: [{role}]\n{handlers}"
        project.write({"site.yml": play, "app/run": "x"})
        self._inventory = load_inventory([folder / "hosts.yml"])
        self._playbook = load_playbook(folder / "site.yml", inventory=self._inventory)
        self._host: Host = self._inventory.hosts["web1"]
        loaded = self._playbook.plays[0].roles[0]
        assert isinstance(loaded, LoadedRole)
        assert loaded.options is not None
        self.options: Options = loaded.options
        self.defaults = loaded.defaults

    def render(self, variables: Mapping[str, Any]) -> list[Any]:
        """What the tasks would do, with the files read back."""
        rendered = render_host(
            self._playbook,
            self._host,
            inventory=self._inventory,
            facts=_HOST_FACTS,
            options=RenderOptions(extra_vars=_raw(variables)),
            site_roles=lambda sites: (),
        )
        return list(_read_back(rendered))


def _raw(value: Any) -> Any:
    """`value` such that templates in it are texts."""
    if isinstance(value, str) and ("{{" in value or "{%" in value or "{#" in value):
        return "{% raw %}" + value + "{% endraw %}"
    if isinstance(value, dict):
        return {_raw(key): _raw(each) for key, each in value.items()}
    return [_raw(each) for each in value] if isinstance(value, list) else value


def _read_back(rendered: Rendered) -> Iterator[Any]:
    for task in (*rendered.tasks, *rendered.handlers):
        args = dict(task.args)
        if "content" in args:
            args["content"] = _content(str(args["dest"]), args["content"])
        yield [task.module, args]


def _content(path: str, content: bytes) -> Any:
    text = content.decode()
    if path.startswith("/etc/systemd/"):
        return settings(text)
    if path.startswith("/etc/default/"):
        return environment(text)
    if "/deployer-users/" in path or path.endswith(".clients.pem"):
        return [(each, ";") for each in text.splitlines()]
    for prefix, read in READERS.items():
        if path.startswith(prefix):
            return read(text)
    return text


def _replaced(structure: Any, marker: str, value: str) -> Any:
    if isinstance(structure, str):
        return structure.replace(marker, value)
    if isinstance(structure, dict):
        return {
            _replaced(k, marker, value): _replaced(v, marker, value) for k, v in structure.items()
        }
    if isinstance(structure, (list, tuple)):
        return [_replaced(each, marker, value) for each in structure]
    return structure


def _skeleton(structure: Any) -> Any:
    """The modules, and the settings and directives of their files, without values."""
    found = []
    for module, args in structure:
        content, rows = args.get("content"), None
        if isinstance(content, list):
            is_unit = str(args["dest"]).startswith("/etc/systemd/")
            rows = [row[:2] if is_unit else (len(row), row[-1] in ";{}") for row in content]
        found.append((module, sorted(args), rows))
    return found


def _rendered(play: _Play, variables: Mapping[str, Any]) -> tuple[set[str], list[Any]]:
    """What is refused, such as ``nginx_sites[0].domain``; what is rendered otherwise."""
    try:
        return set(), play.render(variables)
    except SourceErrors as refused:
        for error in refused.errors:
            assert error.source is not None, error
            assert error.source.line, error
        return {error.problem.partition(": ")[0] for error in refused.errors}, []


@pytest.fixture(params=[(role, part) for role in ROLES for part in _PARTS.get(role, [{}])], ids=str)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[_Play, dict[str, Any]]:
    role, part = request.param
    return _Play(tmp_path, role), {**_HARMLESS[role], **part}


_Path = tuple[Any, ...]


def _attempts(
    play: _Play, harmless: Mapping[str, Any], paths: Mapping[str, _Path], value: Any
) -> Iterator[tuple[set[str], list[Any]]]:
    """What is rendered with `value` at those of `paths` where it is not refused.

    All at once if possible: most are refused in one attempt.
    """
    refused, found = _rendered(play, _with(harmless, paths.values(), value))
    rest = sorted(set(paths) - refused)
    if refused and rest:
        refused, found = _rendered(play, _with(harmless, [paths[place] for place in rest], value))
    if not refused:
        yield set(rest), found
    elif len(rest) > 1:
        for half in (rest[::2], rest[1::2]):
            yield from _attempts(play, harmless, {place: paths[place] for place in half}, value)


def test_every_variable_of_every_role(case: tuple[_Play, dict[str, Any]]) -> None:
    play, harmless = case
    base = play.render(harmless)
    paths = {name: (name,) for name in play.options if name not in _ON_CONTROLLER}
    for value in values():
        for accepted, found in _attempts(play, harmless, paths, value):
            at = f"{accepted} = {str(value)[:60]!r}"
            assert Counter(_settings(found)) <= Counter(_settings(base)), at
            if all(_is_text(play.options[name], value, harmless.get(name)) for name in accepted):
                expected: Any = base
                for name in accepted:
                    expected = _replaced(expected, harmless[name], value)
                if "app_user" in accepted and value == "root":  # is not created
                    expected = [task for task in expected if task[0] != "user"]
                assert _replaced(found, "", "") == _replaced(expected, "", ""), at


def _is_text(option: Option, value: Any, marker: Any) -> bool:
    """Whether `value` must be found in the place of the harmless one; paths are normalised."""
    if option.choices or not isinstance(value, str) or not isinstance(marker, str):
        return False
    return bool(value.strip("./")) and "//" not in value and not value.endswith("/")


def _settings(tasks: list[Any]) -> Iterator[tuple[str, str]]:
    """Each setting of each unit, so that none can be added."""
    for _, args in tasks:
        content = args.get("content")
        if isinstance(content, list) and str(args["dest"]).startswith("/etc/systemd/"):
            yield from (row[:2] for row in content)


def test_every_value_within_a_variable(case: tuple[_Play, dict[str, Any]]) -> None:
    play, harmless = case
    base = play.render(harmless)
    leaves = {_place(path): (path, option) for path, option in _leaves(play.options, harmless)}
    paths = {place: path for place, (path, _) in leaves.items()}
    for value in values()[::5]:
        if isinstance(value, (list, dict)):
            continue
        for accepted, found in _attempts(play, harmless, paths, value):
            at = f"{accepted} = {str(value)[:60]!r}"
            assert Counter(_settings(found)) <= Counter(_settings(base)), at
            options = {place: leaves[place][1] for place in accepted}
            markers = {place: _at(harmless, paths[place]) for place in accepted}
            if "/" in markers.values() or not all(
                _is_text(option, value, markers[place]) for place, option in options.items()
            ):
                continue
            assert _skeleton(found) == _skeleton(base), at
            if play.role == "websocket_app":
                expected: Any = base
                for marker in markers.values():
                    expected = _replaced(expected, marker, value)
                assert _replaced(found, "", "") == _replaced(expected, "", ""), at


def _place(path: tuple[Any, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def _leaves(options: Options, given: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], Option]]:
    for name, option in options.items():
        if name in given:
            yield from _below((name,), option, given[name])


def _below(
    path: tuple[Any, ...], option: Option, value: Any
) -> Iterator[tuple[tuple[Any, ...], Option]]:
    if isinstance(value, dict):
        for key, each in value.items():
            inner = option.options[key] if option.options else option
            yield from _below((*path, key), inner, each)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _below((*path, number), option, each)
    elif len(path) > 1:
        yield path, option


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def _with(tree: Mapping[str, Any], paths: Iterable[_Path], value: Any) -> dict[str, Any]:
    """`tree` with another value at each of `paths`."""
    found = copy.deepcopy(dict(tree))
    for path in paths:
        _at(found, path[:-1])[path[-1]] = value
    return found


def test_there_are_enough_values() -> None:
    assert len(values()) >= 200


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_has_a_type_and_its_default(role: str, tmp_path: Path) -> None:
    play = _Play(tmp_path, role)
    assert {*play.defaults} <= {*play.options}
    for name, option in play.options.items():
        assert option.required != (name in play.defaults), name
        if name in play.defaults:
            assert option.default == play.defaults[name], name


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_has_a_format(role: str, tmp_path: Path) -> None:
    def check(options: Options) -> None:
        for name, option in options.items():
            assert option.description, name
            assert option.format or option.choices or option.options, name
            assert option.elements or option.type != "list", name
            check(option.options or {})

    check(_Play(tmp_path, role).options)


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_file_with_passwords_or_headers_is_not_for_everyone(proxy: str, tmp_path: Path) -> None:
    files = [args for _, args in _Play(tmp_path, proxy).render(_HARMLESS[proxy]) if "dest" in args]
    secret = [
        args
        for args in files
        if any(word in str(args.get("content")) for word in ("zz-request", "zzhash"))
    ]
    assert secret
    assert {int(str(args["mode"]), 8) & 0o007 for args in secret} == {0}
