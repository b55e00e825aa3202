"""Installing python3 on a host without it, by the host's package manager."""

from __future__ import annotations

from deployer.errors import HostError, UnreachableError
from deployer.model import Host
from deployer.transport.options import ConnectOptions
from deployer.transport.pipes import ChannelPipe
from deployer.transport.process import Process
from deployer.transport.refusal import Ended
from deployer.transport.ssh import SshConnection

_TIMEOUT_S = 600.0

#: Commands that install python3, by package manager; the first one found is used.
_COMMANDS = {
    "apt-get": "export DEBIAN_FRONTEND=noninteractive; "
    "apt-get -qy install --no-install-recommends python3 || "
    "{ apt-get -q update && apt-get -qy install --no-install-recommends python3; }",
    "dnf": "dnf -qy install python3",
    "apk": "apk -q add python3",
}


def install_python(connection: SshConnection, host: Host, options: ConnectOptions) -> None:
    """Install python3, in a channel of its own.

    Raises: AuthenticationError if root cannot be become; UnreachableError if there is no known
    package manager, or it fails, or takes longer than ten minutes.
    """
    elevation = connection.elevation(options, host)
    line = elevation.shell_line(["sh", "-c", _script()])
    channel = connection.execute(line, doing="installing python3")
    timeout_s = connection.settings.connect_timeout_s
    output = bytearray()
    process = Process(ChannelPipe(channel, close=channel.close), on_output=output.extend)
    process.start()
    try:
        elevation.give_password(
            process,
            has_begun=lambda: bool(output),
            timeout_s=timeout_s,
        )
        if not process.wait(lambda: process.has_ended or bool(output), timeout_s):
            said = elevation.without_prompt(process.errors())
            raise _failed(host.name, f"has not begun within {timeout_s:g} s: {said}")
        if not process.wait(lambda: process.has_ended, _TIMEOUT_S):
            raise _failed(host.name, f"is not done within {_TIMEOUT_S:g} s")
    except (OSError, EOFError):
        pass  # it has ended; its status and its output show why
    finally:
        status = process.exit_status(1.0)  # comes after the end of the output, so before `close`
        process.close()
    if status == 0:
        return
    said = elevation.without_prompt(process.errors(wait_s=1.0))
    if not output:
        raise Ended(elevation=elevation, status=status, said=said).error()
    last = said.splitlines()[-5:] or output.decode(errors="replace").splitlines()[-5:]
    raise _failed(host.name, "failed: " + "\n".join(last))


def _script() -> str:
    choices = [
        f"if command -v {tool} >/dev/null; then {run}; exit; fi" for tool, run in _COMMANDS.items()
    ]
    refusal = f"echo 'none of {', '.join(_COMMANDS)} is there' >&2"
    # The first line separates the program's output from sudo's dialogue.
    return "; ".join(["echo started", *choices, refusal, "exit 1"])


def _failed(host: str, how: str) -> HostError:
    return UnreachableError(
        f"the installation of python3 {how}",
        host=host,
        doing="installing python3",
        hint="Install python3 on the host by hand.",
    )
