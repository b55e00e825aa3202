"""One order: certbot runs as a child process, and the hosts answer the CA's challenges.

Only certbot talks to the CA. Its hooks pass each challenge to this process, and the caller puts the
answer in place before the CA looks. Whatever interrupts this, a limit, Ctrl-C or a challenge that
cannot be answered, ends certbot before the CA looks: a failed validation counts against a limit of
a few per hour, an abandoned order does not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deployer.agent.certificates.certbot.command import NONCE_TRIES, eab_lines, set_accounts_aside
from deployer.certificates.acme.answers import Answer, Answers
from deployer.certificates.acme.command import certbot_argv, environment_for
from deployer.certificates.acme.output import Output
from deployer.certificates.acme.store import CertificateStore, IssuedCertificate, Settings
from deployer.errors import CertificateError, UsageError

ORDER_LIMIT_S = 600.0
#: How long certbot may take to exit: it withdraws its answers one after another.
_ENDING_S = 20.0
_LOOK_EVERY_S = 0.2
#: A socket's path has at most 108 bytes (unix(7)).
_LONGEST_FOLDER = 90
_LOG_TAIL_BYTES = 1 << 16


def order(
    settings: Settings,
    *,
    folder: Path,
    answer: Answer,
    log: Callable[[str], None],
    cancel: threading.Event | None = None,
    limit_s: float = ORDER_LIMIT_S,
) -> IssuedCertificate:
    """Order a certificate for `settings` now, even if one exists, and keep it in `folder`.

    Only one order at a time may run in a folder: `Issuer` ensures that.

    Args:
        answer: called with a token and its key authorization once for each name, and with `None`
            when that answer is no longer needed. An exception ends the order, and is raised here.
        log: called with each line of progress.
        cancel: ends the order when it is set.
        limit_s: for the whole order.

    Raises:
        CertificateError: there is none, and why.
        UsageError: the folder cannot be used, or certbot has no such DNS plugin.
    """
    store = CertificateStore(folder)
    store.make()
    run_certbot(settings, folder=folder, answer=answer, log=log, cancel=cancel, limit_s=limit_s)
    return store.keep(settings)


def rehearse(
    settings: Settings,
    *,
    folder: Path,
    answer: Answer,
    log: Callable[[str], None],
    cancel: threading.Event | None = None,
    limit_s: float = ORDER_LIMIT_S,
) -> None:
    """Have the staging CA of `settings` validate all challenges, and keep nothing.

    Arguments and errors are those of `order`.
    """
    CertificateStore(folder).make()
    run_certbot(
        settings,
        folder=folder,
        answer=answer,
        log=log,
        cancel=cancel,
        limit_s=limit_s,
        is_rehearsal=True,
    )


def run_certbot(
    settings: Settings,
    *,
    folder: Path,
    answer: Answer,
    log: Callable[[str], None],
    cancel: threading.Event | None,
    limit_s: float,
    is_rehearsal: bool = False,
) -> None:
    """Run certbot until it has the certificate; raises the errors of `order`."""
    deadline = time.monotonic() + limit_s
    for left in reversed(range(NONCE_TRIES)):
        try:
            _run_once(
                settings,
                folder=folder,
                answer=answer,
                log=log,
                cancel=cancel,
                limit_s=max(1.0, deadline - time.monotonic()),
                is_rehearsal=is_rehearsal,
            )
            return
        except CertificateError as error:
            if not left:
                raise
            if error.kind == "bad-nonce":
                words = "rejects its own nonces; retrying"
            elif error.kind == "account-gone" and _set_accounts_aside(folder, settings):
                words = "no longer knows our account; creating a new one"
            else:
                raise
        log(f"{settings['directory']} {words}")


def _set_accounts_aside(folder: Path, settings: Settings) -> bool:
    try:
        return set_accounts_aside(str(folder), settings["directory"])
    except OSError:
        return False  # then certbot's own error is reported


def _run_once(
    settings: Settings,
    *,
    folder: Path,
    answer: Answer,
    log: Callable[[str], None],
    cancel: threading.Event | None,
    limit_s: float,
    is_rehearsal: bool,
) -> None:
    deadline = time.monotonic() + limit_s
    with contextlib.ExitStack() as stack:
        private = stack.enter_context(_private_folder(folder))
        config = private / "certbot.ini"
        descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(eab_lines(dict(settings)))
        argv = certbot_argv(settings, folder=folder, config=config, is_rehearsal=is_rehearsal)
        environment = environment_for(settings, private=private)
        place = stack.enter_context(_socket_folder(private))
        answers = Answers(place, answer=answer, log=log, limit_s=limit_s)
        if settings["challenge"] == "http-01":
            stack.enter_context(answers)
            environment |= answers.environment
        log(f"ordering a certificate for {_names(settings)} from {settings['directory']}")
        output = Output(log)
        ended = _run(argv, environment, output=output, cancel=cancel, deadline=deadline)
    if answers.error is not None:
        raise answers.error
    if ended == 0:
        return
    if ended is None:
        is_cancelled = cancel is not None and cancel.is_set()
        raise CertificateError(
            "the order was cancelled" if is_cancelled else f"it took longer than {limit_s:g} s",
            names=settings["names"],
            kind="cancelled" if is_cancelled else "timeout",
            hint=f"certbot's log is {folder / 'logs' / 'letsencrypt.log'}.",
        )
    raise _failure(settings, output.text, folder)


def _names(settings: Settings) -> str:
    return ", ".join(settings["names"])


@contextlib.contextmanager
def _private_folder(folder: Path) -> Iterator[Path]:
    """A folder in `folder` for the secrets of one order; leftovers of a killed run are removed."""
    private = folder.absolute() / "order"
    shutil.rmtree(private, ignore_errors=True)
    try:
        private.mkdir(mode=0o700)
    except OSError as error:
        raise UsageError(
            f"cannot create {private}: {error.strerror}; no host was touched",
            hint="Free some disk space.",
        ) from error
    try:
        yield private
    finally:
        shutil.rmtree(private, ignore_errors=True)


@contextlib.contextmanager
def _socket_folder(private: Path) -> Iterator[Path]:
    """`private`, or a temporary folder if its path is too long for a socket."""
    if len(os.fsencode(private)) <= _LONGEST_FOLDER:
        yield private
        return
    with tempfile.TemporaryDirectory(prefix="deployer-", dir="/tmp") as folder:
        yield Path(folder)


def _run(
    argv: list[str],
    environment: dict[str, str],
    *,
    output: Output,
    cancel: threading.Event | None,
    deadline: float,
) -> int | None:
    """certbot's exit code, or `None` if it was interrupted."""
    # A session of its own: Ctrl-C on the terminal reaches us, and we end it properly.
    process = subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
    reader = threading.Thread(target=output.read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        while time.monotonic() < deadline and not (cancel is not None and cancel.is_set()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_LOOK_EVERY_S)
        return None
    finally:
        _end(process)
        reader.join(_ENDING_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING_S)
    # Its hooks, and certbot itself if it did not exit; a reaped leader's group ID may be reused.
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_ENDING_S)


def _failure(settings: Settings, output: str, folder: Path) -> CertificateError:
    from deployer.agent.certificates.certbot.words import explain

    failure = explain(output, _log_tail(folder), settings=dict(settings))
    return CertificateError(
        failure.words,
        names=settings["names"],
        kind=failure.kind,
        failed_names=failure.failed_names,
        retry_at=failure.retry_at,
    )


def _log_tail(folder: Path) -> str:
    try:
        with (folder / "logs" / "letsencrypt.log").open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
