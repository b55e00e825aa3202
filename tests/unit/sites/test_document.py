"""Sites are unchanged after conversion to JSON and back."""

from __future__ import annotations

import json

from deployer.model import SourceRef
from deployer.sites.document import sites_from_json, sites_to_json
from deployer.sites.model import Check, Route, Site, Tls, Upstream


def test_a_site_is_unchanged_except_for_its_position() -> None:
    bare = Site(
        domain="a.example",
        aliases=("b.example",),
        tls=Tls(issuer="internal", hsts_s=3600),
        routes=(
            Route(
                path="/ws",
                websocket=True,
                upstreams=(Upstream(host="127.0.0.1", port=3000), Upstream(socket="/run/a.sock")),
                origins=("https://a.example",),
                ping_interval_s=30.0,
                probe=Check(path="/ws?x", headers=(("Cookie", "a=b"),), statuses=(101, 401)),
            ),
            Route(path="/raw", websocket=True, upstreams=(Upstream(port=1),), is_probed=False),
            Route(path="/", root="/var/www/a"),
        ),
        verify=(Check(path="/ws", subprotocols=("chat",), send="ping", hold_s=1.5),),
    )
    placed = Site(
        **{
            **{field: getattr(bare, field) for field in bare.__slots__},
            "source": SourceRef("site.yml", 3, 5),
        }
    )
    text = json.dumps(sites_to_json([placed]))
    assert "site.yml" not in text
    assert sites_from_json(json.loads(text)) == (bare,)
