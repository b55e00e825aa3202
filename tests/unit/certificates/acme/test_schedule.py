"""What is written for systemd and cron, so that neither reads a path otherwise than it is meant."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from deployer.certificates.acme import crontab, units
from deployer.certificates.acme.job import Job, Times
from deployer.certificates.schedule_here import from_anywhere
from deployer.errors import UsageError

JOB = Job(
    playbook=Path("/srv/play books/site.yml"),
    inventories=(Path("/srv/hosts.yml"), Path("/srv/$more;%h.yml")),
    options=("-y",),
    command=("/usr/bin/python3", "-m", "deployer"),
)
TIMES = Times(minute=7, hour=4)


def test_a_service_has_every_word_quoted() -> None:
    assert units.service_text(JOB, user="root") == (
        "# Written by deployer certs schedule.\n"
        "[Unit]\n"
        "Description=Renew the certificates of /srv/play books/site.yml\n"
        "Wants=network-online.target\n"
        "After=network-online.target\n"
        "\n"
        "[Service]\n"
        "Type=oneshot\n"
        "User=root\n"
        'ExecStart=:"/usr/bin/python3" "-m" "deployer" "certs" "renew" '
        '"/srv/play books/site.yml" "-i" "/srv/hosts.yml" "-i" "/srv/$more;%%h.yml" "-y"\n'
        "TimeoutStartSec=2h\n"
    )


def test_a_users_service_says_no_user() -> None:
    text = units.service_text(JOB, user=None)
    assert "User=" not in text
    assert "network-online" not in text


def test_a_timer_runs_twice_a_day_and_makes_up_for_what_was_slept_through() -> None:
    assert units.timer_text(JOB, TIMES).endswith(
        "\n\n[Timer]\n"
        "OnCalendar=*-*-* 04,16:07:00\n"
        "RandomizedDelaySec=15min\n"
        "Persistent=true\n"
        "\n"
        "[Install]\n"
        "WantedBy=timers.target\n"
    )


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/a b", '"/a b"'),
        ("/it's", '"/it\'s"'),
        ('/a"b', '"/a\\"b"'),
        ("/a\\nb", '"/a\\\\nb"'),
        ("/%h/$HOME", '"/%%h/$HOME"'),
        (";", '";"'),
    ],
)
def test_words_are_quoted_for_systemd(word: str, written: str) -> None:
    assert units.quoted(word) == written


def test_a_program_that_systemd_would_not_take_is_started_by_a_shell() -> None:
    assert units.command_line(["/opt/it's", "$1"]) == (
        ':"/bin/sh" "-c" "exec \\"$@\\"" "sh" "/opt/it\'s" "$1"'
    )


def test_a_crontab_line_is_quoted_for_the_shell_and_marked() -> None:
    job = Job(playbook=Path("/srv/it's $HOME;#/site.yml"), command=("/usr/bin/deployer",))
    assert crontab.line_for(job, TIMES) == (
        "7 4,16 * * * /usr/bin/deployer certs renew '/srv/it'\"'\"'s $HOME;#/site.yml' "
        f"# {job.name}"
    )


@pytest.mark.parametrize("path", ["/srv/100%/site.yml", "/srv/a\\b/site.yml", "/srv/" + "x" * 990])
def test_what_cron_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="nothing was scheduled"):
        crontab.line_for(Job(playbook=Path(path)), TIMES)


@pytest.mark.parametrize("path", ["/srv/a\nExecStart=evil", "/srv/\x1b[2J", "/srv/\udcff.yml"])
def test_what_cannot_be_printed_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="cannot be printed"):
        _ = Job(playbook=Path(path)).argv


@pytest.mark.parametrize(
    "job",
    [
        Job(playbook=Path("site.yml")),
        Job(playbook=Path("/site.yml"), inventories=(Path("hosts.yml"),)),
        Job(playbook=Path("/site.yml"), command=("deployer",)),
    ],
)
def test_paths_must_not_depend_on_a_folder(job: Job) -> None:
    with pytest.raises(UsageError, match="not an absolute path"):
        _ = job.argv


def test_files_of_variables_are_found_from_any_folder(workdir: Path) -> None:
    assert from_anywhere("@vars/site.yml") == f"@{workdir}/vars/site.yml"
    assert from_anywhere(" @~/site.yml") == f"@{Path.home()}/site.yml"
    assert from_anywhere("port=80") == "port=80"


def test_only_the_jobs_own_line_is_taken_out_of_a_crontab() -> None:
    other = Job(playbook=Path("/srv/other.yml"))
    theirs = f"# mine\nMAILTO=me\n{crontab.line_for(other, TIMES)}\n"
    with_ours = (
        theirs + crontab.line_for(Job(playbook=Path("/srv/site.yml")), TIMES) + "\n5 * * * * x"
    )
    job = Job(playbook=Path("/srv/site.yml"))
    assert crontab.without(job, with_ours) == theirs + "5 * * * * x"
    assert crontab.without(job, theirs) == theirs


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("2026-03-01T00:00", "2026-03-01T04:07"),
        ("2026-03-01T04:07", "2026-03-01T16:07"),
        ("2026-02-28T16:08", "2026-03-01T04:07"),
    ],
)
def test_the_next_run_by_cron(now: str, then: str) -> None:
    at = datetime.datetime.fromisoformat(now).replace(tzinfo=datetime.UTC)
    expected = datetime.datetime.fromisoformat(then).replace(tzinfo=datetime.UTC)
    assert crontab.next_time(crontab.line_for(Job(playbook=Path("/s.yml")), TIMES), at) == expected
