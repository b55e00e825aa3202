"""A snippet stays in its place: it neither ends the block around it nor leaves one open."""

from __future__ import annotations

import pytest

from deployer.proxies import PROXIES
from deployer.proxies.snippets import SnippetError

ACCEPTED = {
    "nginx": (
        "allow all;",
        'add_header X "a;}";\nif ($x) { return 404; }\n# }\n',
        "set $a ${b}c;",
        "rewrite ^/a$ /b last;",
        "location ~ ^/x\\} { deny all; }",
        "add_header X 'it\\'s';",
    ),
    "apache": (
        'Header set X "</Location>"',
        "<IfModule mod_x.c>\n    X on\n</IfModule>",
        "<if true>\n</If>",
        "X a \\\n    </Location>",
    ),
    "haproxy": (
        "http-request deny if { path /x }",
        "acl a path 'it is' \"so\" # it's",
        "http-request set-header X a\\ b",
    ),
}
REFUSED = {
    "nginx": (
        ("x;\n}\nserver { listen 81; }", "line 2: '}' would close"),
        ("if ($x) { return 404;", "'}' is missing"),
        ("allow all", "no ';'"),
        ("location /x { deny all }", "no ';'"),
        ("allow all; deny all # ;", "no ';'"),
        ('add_header X "a;', "not closed"),
        ("add_header X 'a\\';", "not closed"),
        ('x "a"b;', "text follows a quote"),
        ("allow all\\", "not closed"),
        (";", "without a directive"),
        ("# x\n}", "line 2"),
        ("a\0b;", "control character"),
        ("set $a ${b; }", "no ';'|not closed"),
    ),
    "apache": (
        ("</Location>\nRequire all granted\n<Location />", "line 1: </Location> closes no section"),
        ("<IfModule x>\n</VirtualHost>", "line 2"),
        ("<IfModule x>", "line 1: the section <ifmodule> is not closed"),
        ("< Directory />", "is not closed"),
        ("Header set X y \\", "would continue"),
        ("a\x1bb", "control character"),
    ),
    "haproxy": (
        ("http-request deny\nfrontend x\n    bind :81", "line 2: 'frontend' would begin"),
        ("  backend x", "would begin"),
        ('"backend" x', "would begin"),
        ("back\\end x", "would begin"),
        ("GLOBAL", "would begin"),
        (".if feature(x)", "would begin"),
        ('acl a path "x', "not closed"),
        ("acl a path x\\", "not closed"),
        ("a\rfrontend x", "control character"),
    ),
}


@pytest.mark.parametrize(
    ("proxy", "text"), [(name, text) for name, texts in ACCEPTED.items() for text in texts]
)
def test_accepted(proxy: str, text: str) -> None:
    PROXIES[proxy].snippets.check(text)  # type: ignore[index]


@pytest.mark.parametrize(
    ("proxy", "text", "why"),
    [(name, text, why) for name, cases in REFUSED.items() for text, why in cases],
)
def test_refused(proxy: str, text: str, why: str) -> None:
    with pytest.raises(SnippetError, match=why):
        PROXIES[proxy].snippets.check(text)  # type: ignore[index]
