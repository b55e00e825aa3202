"""Mosquitto behind each proxy, with clients of Paho."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.support.clients.mqtt import Subscriber, mqtt
from tests.support.ready_playbooks import Deployed
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.lab, pytest.mark.services]

PLAYBOOK = "mosquitto"
NAME = "mqtt.example.com"
ALICE, BOB = ("alice", "first secret"), ("bob", "second secret")
OTHER_PAGE = {"Origin": "https://dashboard.example"}


def password_line(name: str, password: str) -> str:
    """What ``mosquitto_passwd -c FILE NAME`` writes."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    salt_text, text = (base64.b64encode(each).decode() for each in (salt, digest))
    return f"{name}:$7$101${salt_text}${text}"


def write_users(folder: Path, *logins: tuple[str, str]) -> None:
    lines = "".join(f"  - '{password_line(*login)}'\n" for login in logins)
    (folder / "secrets.yml").write_text(f"mosquitto_users:\n{lines}")


def test_clients_behind(service: Deployed) -> None:
    assert service.applied.code == 0, service.applied
    assert "subprotocol mqtt" in service.applied.out

    def client(
        login: tuple[str, str], headers: Mapping[str, str] = MappingProxyType({})
    ) -> AbstractContextManager[Subscriber]:
        return mqtt(service.host, NAME, service.root_pem, login=login, headers=headers)

    write_users(service.folder, ALICE)
    applied = service.apply()
    assert applied.code == 0, applied
    with client(ALICE, OTHER_PAGE) as alice, client(BOB) as stranger:
        assert answer_to(alice) == "Success"
        assert answer_to(stranger) == "Not authorized"
        alice.subscribe("home/#")

        # New users are no reason to drop a connection: the broker reads them, and goes on.
        write_users(service.folder, ALICE, BOB)
        assert "open connections survived the reload" in service.reload().out
        # A browser sends the cookies of the domain along, which may be large.
        with client(BOB, {"Cookie": f"session={'x' * 6000}"}) as bob:
            assert answer_to(bob) == "Success"
            photo = os.urandom(200_000)  # Paho masks each byte in Python
            for topic, payload in (("home/door", b"open"), ("home/camera", photo)):
                bob.client.publish(topic, payload, qos=2)
                assert alice.received() == (topic, payload)
        assert alice.losses.empty()


def answer_to(client: Subscriber) -> str:
    """The broker's answer to the login."""
    return client.codes.get(timeout=PATIENCE_S)
