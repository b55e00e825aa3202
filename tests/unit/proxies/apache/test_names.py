"""The names that Apache serves, from configurations as people write them."""

from __future__ import annotations

from deployer.proxies.apache.names import served_names, with_files
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import ServedName
from tests.support.proxies.recorded import apache, recorded


def of(text: str, *listeners: str) -> tuple[ServedName, ...]:
    return served_names(apache(text, listeners=listeners or ("[::]:80", "[::]:443")))


def addresses(found: tuple[ServedName, ...], name: str) -> list[tuple[int, str]]:
    return sorted((each.port, each.address) for each in found if each.name == name)


def test_names_aliases_and_the_first_site_as_default() -> None:
    found = of(
        """
NameVirtualHost *:80
<VirtualHost *:80>
    ServerName https://a.example.com:443
    ServerAlias www.a.example.com *.apps.example.com
</VirtualHost>
<VirtualHost *:80>
    ServerName b.example.com
</VirtualHost>
<VirtualHost _default_:443>
    ServerName b.example.com
    SSLEngine on
</VirtualHost>
"""
    )
    assert addresses(found, "a.example.com") == [(80, "127.0.0.1"), (80, "::1")]
    assert addresses(found, "b.example.com") == [
        (80, "127.0.0.1"),
        (80, "::1"),
        (443, "127.0.0.1"),
        (443, "::1"),
    ]
    default = next(each for each in found if each.is_default and each.port == 80)
    assert default.of_site == ("a.example.com", "www.a.example.com", "*.apps.example.com")
    wildcard = next(each for each in found if each.name == "*.apps.example.com")
    assert wildcard.asked == "any-name.apps.example.com"
    assert {each.tls for each in found if each.port == 443} == {True}


def test_sites_for_one_address_and_sites_for_all() -> None:
    found = of(
        """
<VirtualHost *:80>
    ServerName a.com
</VirtualHost>
<VirtualHost 10.0.0.5:80 127.0.0.1:80>
    ServerName b.com
</VirtualHost>
<VirtualHost *>
    ServerName c.com
</VirtualHost>
""",
        "[::]:80",
    )
    assert addresses(found, "a.com") == [(80, "127.0.0.2"), (80, "::1")]
    assert addresses(found, "b.com") == [(80, "10.0.0.5"), (80, "127.0.0.1")]
    assert addresses(found, "c.com") == [(80, "127.0.0.2"), (80, "::1")]


def test_a_port_without_sites_is_the_main_servers() -> None:
    found = of("ServerName host.example.com\nListen 8080\n", "0.0.0.0:8080")
    assert [(each.name, each.of_site, each.port) for each in found] == [
        ("", ("host.example.com",), 8080)
    ]


def test_without_known_listeners_the_listen_lines_count() -> None:
    text = (
        "Listen 10.0.0.5:80\nListen 443 https\n<VirtualHost *:80>\nServerName a.com\n</VirtualHost>"
    )
    found = served_names(apache(text))
    assert addresses(found, "a.com") == [(80, "10.0.0.5")]
    assert {each.port for each in found} == {80, 443}


def test_websockets_by_proxypass_and_by_rewrite() -> None:
    found = of(
        r"""
<VirtualHost *:80>
    ServerName a.com
    ProxyPass /ws ws://127.0.0.1:3000/ws
    ProxyPass /live http://127.0.0.1:3000/live upgrade=websocket
    ProxyPass / http://127.0.0.1:3000/
    <Location /inner>
        ProxyPass wss://127.0.0.1:4000/
    </Location>
</VirtualHost>
<VirtualHost *:80>
    ServerName b.com
    RewriteEngine on
    RewriteCond %{HTTP:Upgrade} websocket [NC]
    RewriteRule ^/socket/(.*) ws://127.0.0.1:3000/$1 [P,L]
</VirtualHost>
"""
    )
    by_name = {each.name: each.websockets for each in found if each.name}
    assert by_name == {"a.com": ("/ws", "/live", "/inner"), "b.com": ("/socket/",)}


def test_the_names_of_a_recorded_apache_from_its_own_output() -> None:
    state = recorded("apache-routes")
    names = {each.name for each in served_names(state) if each.name}
    assert {"order.example", "*.order.example", "drop.example"} <= names


def test_changed_files_replace_its_own_output() -> None:
    state = recorded("apache-routes")
    file = ConfigFile(
        path="/etc/apache2/sites-enabled/x.conf",
        text="<VirtualHost *:80>\nServerName new.example.com\n</VirtualHost>\n",
    )
    state = ProxyState(proxy="apache", dump=state.dump, listeners=("[::]:80",), config=(file,))
    found = served_names(with_files(state, (file,)))
    assert {each.name for each in found if each.name} == {"new.example.com"}


def test_names_that_rewrite_rules_test() -> None:
    found = of(
        r"""
<VirtualHost *:80>
    ServerName a.com
    RewriteEngine on
    RewriteCond %{HTTP_HOST} ^(www\.)?old\.com$ [NC]
    RewriteRule ^ https://new.com%{REQUEST_URI} [R=301]
    RewriteCond %{HTTP_HOST} !^a\.com$
    RewriteRule ^ - [F]
</VirtualHost>
""",
        "0.0.0.0:80",
    )
    assert {each.asked for each in found if each.name} == {"a.com", "www.old.com"}


_ROOT = "Listen 80\nIncludeOptional sites-enabled/*.conf\nInclude /srv/more/\n"
_FILES = {
    "/etc/apache2/apache2.conf": _ROOT,
    "/etc/apache2/sites-enabled/a.conf": """
<VirtualHost *:80>
    ServerName a.com
    Include snippets/alias.inc
</VirtualHost>
""",
    "/etc/apache2/snippets/alias.inc": "ServerAlias www.a.com\nSSLEngine on\n",
    "/etc/apache2/sites-enabled/m.conf": """
<Macro Site $name $names>
  <VirtualHost *:80>
    ServerName $name
    ServerAlias $names
  </VirtualHost>
</Macro>
Use Site m.com "www.m.com *.m.com"
UndefMacro Site
""",
    "/etc/apache2/sites-available/c.conf": "<VirtualHost *:80>\n ServerName c.com\n</VirtualHost>",
    "/srv/more/b.conf": "<VirtualHost *:80>\n ServerName b.com\n</VirtualHost>",
}


def test_files_with_their_includes_and_macros() -> None:
    files = tuple(ConfigFile(path=path, text=text) for path, text in _FILES.items())
    state = ProxyState(proxy="apache", listeners=("[::]:80", "[::]:81"))
    found = served_names(with_files(state, files))
    assert {each.name for each in found} == {
        *("", "a.com", "www.a.com", "m.com", "www.m.com", "*.m.com", "b.com")
    }
    assert {each.name for each in found if each.tls} == {"", "a.com", "www.a.com"}
    assert {each.port for each in found} == {80}
    macro = next(each for each in found if each.name == "m.com")
    assert macro.where == "/etc/apache2/sites-enabled/m.conf:8"


def test_files_and_macros_that_lead_to_themselves_are_read_once() -> None:
    files = {"/etc/apache2/apache2.conf": "Listen 80\nInclude sites/*.conf\n"}
    for name in "abc":
        files[f"/etc/apache2/sites/{name}.conf"] = f"""
Include sites/*.conf
<VirtualHost *:80>
    ServerName {name}.com
</VirtualHost>
<Macro M{name}>
Use M{name}
Use M{name}
</Macro>
Use M{name}
"""
    config = tuple(ConfigFile(path=path, text=text) for path, text in files.items())
    state = ProxyState(proxy="apache", listeners=("[::]:80",))
    found = served_names(with_files(state, config))
    assert {each.name for each in found} == {"", "a.com", "b.com", "c.com"}


def test_where_a_macro_is_used_in_apaches_own_output() -> None:
    dump = """
# In file: macro 'site' (defined on line 1 of "/etc/apache2/m.conf") used on line 8 of "/etc/m.conf"
#   1:
<VirtualHost *:80>
#   2:
  ServerName m.com
</VirtualHost>
# In file: /etc/n.conf
#   3:
<VirtualHost *:80>
#   4:
  ServerName n.com
</VirtualHost>
"""
    state = ProxyState(proxy="apache", dump=dump, listeners=("[::]:80",))
    places = {each.name: each.where for each in served_names(state) if each.name}
    assert places == {"m.com": "/etc/m.conf:8", "n.com": "/etc/n.conf:3"}
