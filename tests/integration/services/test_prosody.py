"""Prosody behind each proxy, with Strophe, the XMPP library of web clients, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.lab.lab import Lab
from tests.support.clients.chromium import chromium
from tests.support.ready_playbooks import Deployed

pytestmark = [pytest.mark.lab, pytest.mark.services]

PLAYBOOK = "prosody"
NAME = "chat.example.com"
STROPHE = "usr/share/javascript/strophe/strophe.min.js"
#: Functions of a chat. What arrives for a user is in attributes of the page: the text of the last
#: message, and who was last seen; so each step can wait for the one before.
CHAT = """
window.logIn = (service, user, password) => new Promise(settle => {
    const connection = window[user] = new Strophe.Connection(service);
    const {AUTHFAIL, CONNFAIL, CONNECTED} = Strophe.Status;
    connection.addHandler(message => {
        const body = message.getElementsByTagName('body')[0];
        if (body) document.body.setAttribute(`data-${user}`, body.textContent);
        return true;
    }, null, 'message');
    connection.addHandler(presence => {
        const from = presence.getAttribute('from');
        document.body.setAttribute(`data-seen-by-${user}`, from);
        if (from === connection.jid) settle(true);
        return true;
    }, null, 'presence');
    connection.connect(`${user}@chat.example.com`, password, status => {
        if (status === CONNECTED) connection.send($pres());
        if ([AUTHFAIL, CONNFAIL].includes(status)) settle(false);
    });
});
window.join = (user, room) => window[user].send(
    $pres({to: `${room}/${user}`}).c('x', {xmlns: 'http://jabber.org/protocol/muc'}));
window.say = (user, to, type, text) => window[user].send($msg({to, type}).c('body').t(text));
"""
WEBSOCKET, BOSH = f"wss://{NAME}/xmpp-websocket", f"https://{NAME}/http-bind"
ROOM = "lobby@rooms.chat.example.com"


def test_a_browser_behind(service: Deployed, debian_services: Lab, tmp_path: Path) -> None:
    assert service.applied.code == 0, service.applied
    assert "subprotocol xmpp" in service.applied.out
    host, elsewhere = debian_services.hosts
    host.sh("apt-get install -qq libjs-strophe >/dev/null")
    for user in ("alice", "bob"):
        host.sh(f"prosodyctl register {user} {NAME} secret")
    strophe = (host.root / STROPHE).read_text()
    with chromium(
        tmp_path,
        network_of=elsewhere,
        trust=service.root_pem,
        addresses={NAME: host.address},
    ) as page:
        page.open(BOSH)  # the browser has to be on a page of the site
        page.evaluate(strophe + ";0")
        page.evaluate(CHAT + ";0")
        assert page.evaluate(f"logIn('{WEBSOCKET}', 'alice', 'wrong')") is False
        assert page.evaluate(f"logIn('{WEBSOCKET}', 'alice', 'secret')") is True
        assert page.evaluate(f"logIn('{BOSH}', 'bob', 'secret')") is True
        page.evaluate("say('alice', bob.jid, 'chat', 'grüße')")
        page.until("document.body.dataset.bob === 'grüße'")

        assert "open connections survived the reload" in service.reload().out
        page.evaluate("say('bob', alice.jid, 'chat', 'still here')")
        page.until("document.body.dataset.alice === 'still here'")

        for user in ("bob", "alice"):
            page.evaluate(f"join('{user}', '{ROOM}')")
            page.until(f"document.body.getAttribute('data-seen-by-{user}') === '{ROOM}/{user}'")
        page.evaluate(f"say('alice', '{ROOM}', 'groupchat', 'hello all')")
        page.until("document.body.dataset.bob === 'hello all'")
