"""A scripted agent for tests of the transport; its protocol is docs/reference/protocol.md.

It takes the place of `deployer.agent.main` in the bundle.
"""

import base64
import contextlib
import json
import os
import socket
import sys
import threading
import time

lock = threading.Lock()
relays = {}
extended = []


def say(message):
    data = json.dumps(message).encode()
    with lock:
        sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
        sys.stdout.buffer.flush()


def pump(number, connection):
    try:
        while True:
            data = connection.recv(65536)
            if not data:
                break
            say({"relay": number, "data_b64": base64.b64encode(data).decode()})
    except OSError:
        pass
    connection.close()
    say({"relay": number, "closed": True})


def answer(message):
    number, name = message["id"], message["request"]
    if name == "echo":
        say({"id": number, "reply": {"said": message["text"]}})
    elif name == "source":
        say({"id": number, "reply": {"bytes": len(PROGRAM)}})
    elif name in ("count", "work"):
        work(number, message)
    elif name in ("refuse", "hang", "garble", "die"):
        fail(number, name)
    elif name == "chatter":
        sys.stderr.write("x" * message["bytes"])
        say({"id": number, "reply": {}})
    elif name == "extended":
        say({"id": number, "reply": {"commits": extended}})
    elif name == "connect":
        connect(number, message)


def work(number, message):
    if message["request"] == "count":
        for n in range(message["to"]):
            say({"id": number, "event": "alive"})
            say({"id": number, "event": "step", "n": n})
        say({"id": number, "reply": {}})
        return
    end = time.monotonic() + message["seconds"]
    while time.monotonic() < end:
        say({"id": number, "event": "alive"})
        time.sleep(0.02)
    say({"id": number, "reply": {"done": True}})


def fail(number, name):
    if name == "refuse":
        say({"id": number, "error": {"code": "locked", "message": "no", "holder": "me"}})
    elif name == "garble":
        sys.stdout.buffer.write(b"Segmentation fault\n")
        sys.stdout.buffer.flush()
    elif name == "die":
        sys.stderr.write("out of luck\n")
        sys.stderr.flush()
        os._exit(3)


def connect(number, message):
    try:
        if "socket" in message:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(message["socket"])
        else:
            connection = socket.create_connection((message["host"], message["port"]))
    except OSError as error:
        words = "it does not answer: " + os.strerror(error.errno)
        say({"id": number, "error": {"code": "connect-failed", "message": words}})
        return
    relays[message["relay"]] = connection
    say({"id": number, "reply": {"relay": message["relay"]}})
    threading.Thread(target=pump, args=(message["relay"], connection), daemon=True).start()


def main(program):
    global PROGRAM
    PROGRAM = program()
    say({"hello": 1, "python": "3", "uid": os.getuid(), "pid": os.getpid()})
    read = sys.stdin.buffer.read
    while True:
        head = read(4)
        if len(head) < 4:
            os._exit(0)
        message = json.loads(read(int.from_bytes(head, "big")))
        if "id" in message:
            answer(message)
        elif "extend" in message:
            extended.append(message["extend"])
        elif message.get("closed"):
            with contextlib.suppress(OSError):
                relays.pop(message["relay"]).shutdown(socket.SHUT_RDWR)
        else:
            relays[message["relay"]].sendall(base64.b64decode(message["data_b64"]))
