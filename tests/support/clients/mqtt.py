"""Paho, the MQTT client of most Python programs, over the WebSockets of a site."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from deployer.lab.host import LabHost
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from paho.mqtt.client import Client


class Subscriber:
    """A client that is logged in; what happens to it is in queues, oldest first."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.codes: queue.Queue[str] = queue.Queue()
        self.granted: queue.Queue[int] = queue.Queue()
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.losses: queue.Queue[str] = queue.Queue()
        client.on_connect = lambda _c, _u, _f, code, _p: self.codes.put(str(code))
        client.on_subscribe = lambda _c, _u, number, _codes, _p: self.granted.put(number)
        client.on_message = lambda _c, _u, each: self.messages.put((each.topic, each.payload))
        client.on_disconnect = lambda _c, _u, _f, code, _p: self.losses.put(str(code))

    def forget(self) -> None:
        """Leave the client, which closes its last sockets when nothing refers to it any more."""
        client = self.client
        client.on_connect = client.on_subscribe = client.on_message = client.on_disconnect = None

    def subscribe(self, topic: str) -> None:
        """Return when the broker has granted it."""
        self.client.subscribe(topic, qos=2)
        self.granted.get(timeout=PATIENCE_S)

    def received(self) -> tuple[str, bytes]:
        """The topic and the payload of the next message."""
        return self.messages.get(timeout=PATIENCE_S)


@contextmanager
def mqtt(
    host: LabHost,
    name: str,
    root_pem: Path,
    *,
    login: tuple[str, str],
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Subscriber]:
    """A client of the broker at ``wss://NAME/mqtt``; its answer is the first of `codes`."""
    from paho.mqtt.client import CallbackAPIVersion, Client

    class AtTheHost(Client):
        def _create_socket_connection(self) -> socket.socket:
            return socket.create_connection((host.address, self.port), timeout=PATIENCE_S)

    client = AtTheHost(CallbackAPIVersion.VERSION2, transport="websockets")
    client.tls_set(ca_certs=str(root_pem))
    client.username_pw_set(*login)
    client.ws_set_options("/mqtt", headers=dict(headers))
    subscriber = Subscriber(client)
    client.connect(name, 443, keepalive=60)
    client.loop_start()
    try:
        yield subscriber
    finally:
        client.disconnect()
        client.loop_stop()
        subscriber.forget()
