"""How to inspect Apache: its control program lists the files, modules and sites.

DUMP_CONFIG belongs to mod_info. If that is installed but not loaded, it is loaded for this command
only: the running server is not affected. Source: httpd, "apachectl"; mod_info, "Dumping the
configuration".
"""

from __future__ import annotations

import os
import re

from deployer.agent.proxies.files import FileReader, Hurry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

PROGRAMS = ("/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/local/apache2/bin/httpd")
_CONTROLS = ("/usr/sbin/apachectl", "/usr/local/apache2/bin/apachectl")
_DUMPS = ("DUMP_INCLUDES", "DUMP_VHOSTS", "DUMP_MODULES", "DUMP_RUN_CFG", "DUMP_CONFIG")
_INFO_MODULES = (
    "/usr/lib/apache2/modules/mod_info.so",
    "/usr/lib64/httpd/modules/mod_info.so",
    "/usr/local/apache2/modules/mod_info.so",
)
_INCLUDED = re.compile(r"^\s+\([*\d]+\) (/.+)$", re.MULTILINE)
_ERROR_LOG = re.compile(r"^\s*ErrorLog\s+\"?([^\"\s|]+)", re.MULTILINE)
_TOPS = ("/etc/apache2/apache2.conf", "/etc/httpd/conf/httpd.conf")


def ask(children: Hurry, program: str, main: int, reader: FileReader) -> Json:
    """Version, configuration, the result of its configuration test, and its log files."""
    control = next((path for path in _CONTROLS if os.access(path, os.X_OK)), "") or program
    _, about = children.run([program, "-v"]) if program else (None, "")
    version = re.search(r"Apache/([\d.]+)", about)
    code, said = children.run([control, "-t"]) if control else (None, "")
    asking = [word for dump in _DUMPS for word in ("-D", dump)]
    info = next((path for path in _INFO_MODULES if os.path.exists(path)), "")
    loading = ["-C", f"LoadModule info_module {info}"] if info else []
    dump = ""
    if code == 0:
        failed, dump = children.run([control, *loading, "-t", *asking])
        if failed and loading:
            _, dump = children.run([control, "-t", *asking])
    paths = _INCLUDED.findall(dump) or [path for path in _TOPS if os.path.exists(path)]
    config = reader.read_all(list(dict.fromkeys(paths)))
    logs = [log for each in config for log in _ERROR_LOG.findall(each["text"])]
    return {
        "version": version.group(1) if version else "",
        "config": config,
        "dump": dump,
        "test_ok": None if code is None else code == 0,
        "test_output": said.strip()[-8000:],
        "logs": [
            *(log.replace("${APACHE_LOG_DIR}", "/var/log/apache2") for log in logs),
            "/var/log/apache2/error.log",
        ],
    }


def is_leaving(worker: Json, main: int, title: str) -> bool:
    """A child that finishes its connections and accepts no new ones."""
    return bool(worker["is_old"])
