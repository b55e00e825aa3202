"""``deployer verify``: the handshake checks alone, once or again and again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from deployer.cli import options
from deployer.cli.command import Command, Integer, Number, combine, option
from deployer.errors import UsageError

_PUBLIC = "Public DNS"
_MEASURE = "Measurements"
_WATCH = "Monitoring"
#: The parameters of the measurements.
_MEASURED = ("idle", "idle_limit", "load", "rate", "hold")

_measurements = combine(
    option(
        "--idle",
        group=_MEASURE,
        is_flag=True,
        help="Measure how long each hop keeps an idle connection open.",
    ),
    option(
        "--idle-limit",
        group=_MEASURE,
        metavar="DURATION",
        help="Stop --idle after DURATION: 90s, 10m, 2h.  [default: 330s]",
    ),
    option(
        "--load",
        group=_MEASURE,
        metavar="N",
        type=Integer(1, 60000),
        help="Open N connections to each site, hold them, and report which limit they reach.",
    ),
    option(
        "--rate",
        group=_MEASURE,
        metavar="R",
        type=Number(1, 5000),
        help="Open R connections a second for --load.  [default: 200]",
    ),
    option(
        "--hold",
        group=_MEASURE,
        metavar="DURATION",
        help="Hold the connections of --load for DURATION: 30s, 10m.  [default: 10s]",
    ),
)

_monitoring = combine(
    option(
        "--watch",
        group=_WATCH,
        metavar="TIME",
        help="Verify every TIME, such as 60s, until Ctrl-C, and report what has changed.",
    ),
    option(
        "--metrics",
        group=_WATCH,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Write Prometheus metrics for the textfile collector of node_exporter.",
    ),
)


@click.command(
    cls=Command,
    examples=(
        ("Check every site of every host", "deployer verify site.yml"),
        ("Check every minute and report changes", "deployer verify site.yml --watch 60s"),
    ),
)
@options.playbook
@options.selection
@option(
    "--no-public",
    group=_PUBLIC,
    is_flag=True,
    help="Skip the checks made through public DNS from this machine.",
)
@options.resolve(_PUBLIC)
@_measurements
@_monitoring
@options.connection
@options.output
@options.explain
@options.reports
def verify(
    playbook: Path,
    *,
    no_public: bool,
    resolve: Sequence[str],
    watch: str | None,
    **given: Any,
) -> int:
    """Check running services with real handshakes, changing nothing.

    Each check runs at three hops: directly at the service, through the proxy, and through public
    DNS from this machine.
    """
    from deployer.cli.session import ended, session_of
    from deployer.run.measure import measure_from
    from deployer.verify.public.hop import public_hop

    wanted = {name: given.pop(name) for name in _MEASURED}
    if no_public and resolve and wanted["load"] is None:
        raise UsageError("--resolve has no effect with --no-public; no host was touched")
    public = public_hop(resolve)
    measure = measure_from(**wanted, overrides=public.overrides, no_public=no_public)
    given["public"] = None if no_public else public
    if watch is not None:
        from deployer.cli.watch import watched

        return watched(session_of, playbook, every=watch, is_measured=measure is not None, **given)
    with session_of("verify", playbook, **given) as session:
        run = session.fleet.verify(measure)
        session.report.verified(run)
        session.report.measured(run)
        return ended(session, run)
