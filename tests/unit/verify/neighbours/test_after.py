"""What the configuration shows after a change: names with a different server."""

from __future__ import annotations

from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.proxies.inspect.names import ServedName, served_names
from deployer.verify.neighbours.after import moved
from deployer.verify.neighbours.model import NeighbourAnswer
from deployer.verify.neighbours.requests import requests_to
from deployer.verify.neighbours.verdict import Comparison, worse


def serving(**texts: str) -> tuple[ServedName, ...]:
    """The names of nginx with these files of servers, in the order in which it reads them."""
    main = ConfigFile(path="/e/nginx.conf", text="http { include /e/c/*.conf; }")
    files = (ConfigFile(path=f"/e/c/{name}.conf", text=text) for name, text in texts.items())
    return served_names([ProxyState(proxy="nginx", config=(main, *files))])


BEFORE = serving(b="server { listen 80; listen [::]:80; listen 81; server_name a.com; }")
REQUESTS = requests_to(BEFORE)


def test_a_name_that_a_different_file_answers_now() -> None:
    after = serving(
        a="server { listen 80; server_name a.com; return 200 x; }",
        b="# a line more\nserver { listen 80; listen [::]:80; listen 81; server_name a.com; }",
    )
    found = moved(REQUESTS, BEFORE, after, brought=())
    assert {REQUESTS[number].url for number in found} == {"http://a.com/", "http://127.0.0.1/"}
    assert {each.where for each in found.values()} == {"/e/c/a.conf:1"}
    assert not moved(REQUESTS, BEFORE, after, brought={"/e/c/b.conf"})
    assert not moved(REQUESTS, BEFORE, (), brought=())


def test_a_page_of_a_different_server_is_worse_unless_it_is_the_same_page() -> None:
    request, now = REQUESTS[0], serving(a="server { server_name a.com; }")[0]

    def page(body: str, **more: object) -> NeighbourAnswer:
        return NeighbourAnswer(status=200, body=body, **more)  # type: ignore[arg-type]

    def found(*before: NeighbourAnswer, after: NeighbourAnswer) -> list[str]:
        compared = [Comparison(request=request, before=before, after=after)]
        return [*worse(compared, (), {0: now}).values()]

    (words,) = found(page("1"), page("1"), after=page("2"))
    assert words.endswith("with a different page after it, from /e/c/a.conf:1")
    assert not worse([Comparison(request=request, before=(page("1"),) * 2, after=page("2"))])
    assert not found(page("1"), page("1"), after=page("1"))
    assert not found(page("1"), page("2"), after=page("3")), "it changes by itself"
    assert not found(page("1", is_stock=True), page("1", is_stock=True), after=page("2"))
