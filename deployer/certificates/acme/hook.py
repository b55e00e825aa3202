"""What certbot starts for each challenge: it hands the challenge to the deployer that waits for it.

certbot itself goes on when a hook fails, and has the CA look for an answer that nobody gives, which
costs one of a few failed validations. So this ends certbot where no answer could be given, also
where the deployer that started it is gone.

Run by its path, with the standard library alone, as ``hook.py answer`` or ``hook.py forget``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

SOCKET = "DEPLOYER_ACME_SOCKET"
WORD = "DEPLOYER_ACME_WORD"
LIMIT = "DEPLOYER_ACME_LIMIT_S"


def main(argv: list[str]) -> int:
    """Hand the challenge in certbot's environment over; 0 where it was taken."""
    is_answer = argv[1:] == ["answer"]
    try:
        error = _hand_over(is_answer=is_answer)
    except (OSError, ValueError, KeyError) as trouble:
        error = f"the deployer that ordered the certificate does not answer: {trouble}"
    if not error:
        return 0
    print(error, file=sys.stderr)
    if is_answer:
        # certbot was started as the leader of a session, and is asked to end by itself: it takes
        # back what was answered so far.
        os.kill(os.getsid(0), signal.SIGTERM)
    return 1


def _hand_over(*, is_answer: bool) -> str:
    """Why it was not taken, in words; empty where it was."""
    message = {
        "word": os.environ[WORD],
        "name": os.environ["CERTBOT_IDENTIFIER"],
        "token": os.environ["CERTBOT_TOKEN"],
        "key_authorization": os.environ["CERTBOT_VALIDATION"] if is_answer else None,
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(float(os.environ[LIMIT]))
        connection.connect(os.environ[SOCKET])
        connection.sendall(json.dumps(message).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    return str(json.loads(line)["error"])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
