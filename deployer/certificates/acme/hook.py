"""certbot's hook for each challenge: it passes the challenge to the deployer that waits for it.

certbot itself continues when a hook fails, and has the CA look for a missing answer, which costs
one of a few failed validations. So this hook ends certbot if no answer could be given, even if the
deployer that started it is gone.

Run by its path, with the standard library only, as ``hook.py answer`` or ``hook.py forget``.
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
    """Pass on the challenge in certbot's environment; return 0 if it was accepted."""
    is_answer = argv[1:] == ["answer"]
    try:
        error = _hand_over(is_answer=is_answer)
    except (OSError, ValueError, KeyError) as trouble:
        error = f"the deployer that ordered the certificate does not answer: {trouble}"
    if not error:
        return 0
    print(error, file=sys.stderr)
    if is_answer:
        # certbot leads a session of its own; on SIGTERM it withdraws its answers and exits.
        os.kill(os.getsid(0), signal.SIGTERM)
    return 1


def _hand_over(*, is_answer: bool) -> str:
    """Why it was rejected; empty if it was accepted."""
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
