"""What a plan changes for other sites that keep working."""

from __future__ import annotations

from deployer.plan.diff import plan_lines
from deployer.plan.model import Change, Plan
from deployer.plan.predicted import names_left
from deployer.plan.side_effects import side_effects
from deployer.plan.wire import plan_for_output
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import served_names

OWN = frozenset({"own.example.com"})
TOP = "events {}\nhttp { include /etc/nginx/sites-enabled/*; }\n"
INTERN = "server { listen 443 ssl; server_name intern.example.com; }\n"
SITE = "/etc/nginx/sites-enabled/{}.conf"


def nginx(**sites: str) -> ProxyState:
    files = [ConfigFile(path=SITE.format(name), text=text) for name, text in sites.items()]
    top = ConfigFile(path="/etc/nginx/nginx.conf", text=TOP)
    return ProxyState(proxy="nginx", config=(top, *files), is_running=True)


def haproxy(text: str) -> ProxyState:
    file = ConfigFile(path="/etc/haproxy/haproxy.cfg", text=text)
    return ProxyState(proxy="haproxy", config=(file,), is_running=True)


def written(path: str, text: str, before: str | None = None) -> Change:
    return Change(
        resource_id=f"file:{path}",
        action="create" if before is None else "update",
        before=None if before is None else {"type": "file"},
        after={"type": "file"},
        fingerprint="x",
        before_content=None if before is None else before.encode(),
        after_content=text.encode(),
    )


def notes(state: ProxyState, *changes: Change) -> list[str]:
    plan = Plan(host="web1", created_at="", changes=changes)
    return list(side_effects(served_names([state]), names_left([state], plan), plan, OWN))


def own(text: str, *, name: str = "own.example.com") -> Change:
    return written(SITE.format(name), text)


def test_a_site_of_its_own_address_has_none() -> None:
    site = "server { listen 8443 ssl http2; server_name own.example.com; }\n"
    assert notes(nginx(intern=INTERN), own(site)) == []


def test_a_shared_listener_that_speaks_http2() -> None:
    site = "server { listen 443 ssl http2; server_name own.example.com; }\n"
    assert notes(nginx(intern=INTERN), own(site)) == [
        "port 443 of nginx is shared and now offers HTTP/2, also to clients of intern.example.com"
    ]
    newer = "server { listen 443 ssl; http2 on; server_name own.example.com; }\n"
    assert notes(nginx(intern=INTERN), own(newer)) == []


def test_a_new_default_server() -> None:
    site = "server { listen 443 ssl; server_name own.example.com; }\n"
    assert notes(nginx(intern=INTERN), own(site, name="a")) == [
        (
            "requests for unknown names on port 443 of nginx go to own.example.com"
            f" ({SITE.format('a')}:1) instead of intern.example.com ({SITE.format('intern')}:1)"
        )
    ]


def test_a_name_that_another_file_also_has() -> None:
    other = "server { listen 443 ssl; server_name own.example.com other.example.com; }\n"
    site = "server { listen 443 ssl; server_name own.example.com; }\n"
    assert notes(nginx(b=other), own(site, name="c")) == [
        (
            f"own.example.com is configured twice on port 443: nginx uses {SITE.format('b')}:1,"
            f" not {SITE.format('c')}:1"
        )
    ]
    found = notes(nginx(b=other), own(site, name="a"))
    assert found[:1] == [
        (
            f"own.example.com is configured twice on port 443: nginx uses {SITE.format('a')}:1,"
            f" not {SITE.format('b')}:1"
        ),
    ]


def test_a_setting_of_the_whole_process() -> None:
    drain = written(
        "/etc/nginx/modules-enabled/90-deployer.conf", "worker_shutdown_timeout  60s;\n"
    )
    assert notes(nginx(intern=INTERN), drain) == [
        (
            "worker_shutdown_timeout 60s is a setting of nginx as a whole,"
            " also for intern.example.com (/etc/nginx/modules-enabled/90-deployer.conf)"
        )
    ]
    assert notes(nginx(own=INTERN.replace("intern", "own")), drain) == []
    same = written(drain.name, "worker_shutdown_timeout 60s;\n", "worker_shutdown_timeout  60s;\n")
    assert notes(nginx(intern=INTERN), same) == []


def test_the_same_of_apache_and_haproxy() -> None:
    site = "Listen 443\n<VirtualHost *:443>\nServerName intern.example.com\n</VirtualHost>\n"
    apache = ProxyState(
        proxy="apache",
        config=(ConfigFile(path="/etc/apache2/apache2.conf", text=site),),
        is_running=True,
    )
    limits = written("/etc/apache2/conf-available/zz-deployer.conf", "TraceEnable  Off\n")
    assert notes(apache, limits) == [
        (
            "TraceEnable Off is a setting of Apache as a whole, also for intern.example.com"
            " (/etc/apache2/conf-available/zz-deployer.conf)"
        )
    ]
    former = (
        "global\n    hard-stop-after 1h\nfrontend http\n    mode http\n    bind :80\n"
        "    acl a hdr(host) intern.example.com\n    use_backend a if a\nbackend a\n    mode http\n"
    )
    now = former.replace("1h", "2h")
    assert notes(haproxy(former), written("/etc/haproxy/haproxy.cfg", now, former)) == [
        (
            "hard-stop-after 2h is a setting of HAProxy as a whole, also for intern.example.com"
            " (/etc/haproxy/haproxy.cfg)"
        )
    ]


def test_a_name_of_two_sites_behind_haproxy() -> None:
    former = (
        "frontend http\n    mode http\n    bind :80\n    acl a hdr(host) own.example.com\n"
        "    use_backend a if a\nbackend a\n    mode http\n"
    )
    now = former.replace(
        "    use_backend", "    acl b hdr(host) own.example.com\n    use_backend", 1
    )
    assert notes(haproxy(former), written("/etc/haproxy/haproxy.cfg", now, former)) == [
        (
            "own.example.com is configured twice on port 80:"
            " HAProxy uses /etc/haproxy/haproxy.cfg:4, not /etc/haproxy/haproxy.cfg:5"
        )
    ]


def test_they_are_shown_with_the_plan() -> None:
    plan = Plan(host="web1", created_at="", changes=(), side_effects=("port 443 is shared",))
    assert [line.text for line in plan_lines(plan)] == ["i port 443 is shared"]
    assert plan_for_output(plan)["side_effects"] == ["port 443 is shared"]
