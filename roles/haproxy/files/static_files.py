"""Serve the files of several folders on the loopback address, for a proxy that serves no files.

    static_files.py ADDRESS:PORT FOLDER

`FOLDER` has a link for each root: ``/NAME/x`` is the file `x` in the folder of the link `NAME`. A
path names a file, or a folder with an ``index.html``, with or without a trailing slash. The proxy
may name a different file of folders in the header ``Static-Index``, and in ``Static-Fallback`` a
path to serve for those that do not exist. There are no listings and no redirects; the methods
are GET and HEAD.

The proxy ensures that a path stays below its name. Standard library only, Python 3.8.
"""

from __future__ import annotations

import io
import mimetypes
import os
import re
import socket
import stat
import sys
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_to_bytes

#: Timeout for the next request on a connection, and for sending a part of a response.
_PATIENCE_S = 75.0
_ALLOWED = "GET, HEAD"
#: Types that the standard library of some releases lacks; the host's own table is not used.
_NEWER_TYPES = {
    ".avif": "image/avif",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
mimetypes.init(files=())


class Server(ThreadingHTTPServer):
    """One thread per connection; a proxy keeps few."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], folder: str) -> None:
        super().__init__(address, Handler)
        self.folder = os.fsencode(folder)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE_S
    server: Server

    def do_GET(self) -> None:
        """Answer with the file, a part of it, or 304."""
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body is not read
        try:
            file, name = self.open()
        except PermissionError:
            self.refuse(HTTPStatus.FORBIDDEN)
        except OSError:
            self.refuse(HTTPStatus.NOT_FOUND)
        else:
            with file:
                self.answer(file, media_type=type_of(name))

    do_HEAD = do_GET

    def open(self) -> tuple[io.FileIO, str]:
        """The file that the request means, or its substitute."""
        index = os.path.basename(os.fsencode(self.headers.get("Static-Index", "index.html")))
        try:
            return open_file(self.server.folder, self.path, index)
        except (FileNotFoundError, NotADirectoryError):
            fallback = self.headers.get("Static-Fallback")
            if fallback is None:
                raise
            return open_file(self.server.folder, fallback, index)

    def do_POST(self) -> None:
        """Answer 405 with the allowed methods."""
        self.close_connection = True
        self.refuse(HTTPStatus.METHOD_NOT_ALLOWED)

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

    def answer(self, file: io.FileIO, *, media_type: str) -> None:
        """Conditional and range requests (RFC 9110, sections 13 and 14)."""
        about = os.fstat(file.fileno())
        tag = f'"{int(about.st_mtime):x}-{about.st_size:x}"'
        headers = {
            "Last-Modified": formatdate(about.st_mtime, usegmt=True),
            "ETag": tag,
        }
        if self.has_it(tag, int(about.st_mtime)):
            self.begin(HTTPStatus.NOT_MODIFIED, headers)
            return
        headers["Content-Type"] = media_type
        headers["Accept-Ranges"] = "bytes"
        start, end = 0, about.st_size
        status = HTTPStatus.OK
        part = self.part(about.st_size, tag=tag, changed=headers["Last-Modified"])
        if part is not None:
            start, end = part
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{about.st_size}"
            status = HTTPStatus.PARTIAL_CONTENT
            if start >= end:
                range_of_none = {"Content-Range": f"bytes */{about.st_size}", "Content-Length": "0"}
                self.begin(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, range_of_none)
                return
        headers["Content-Length"] = str(end - start)
        self.begin(status, headers)
        if self.command == "GET" and end > start:
            sent = self.connection.sendfile(file, start, end - start)
            if sent < end - start:
                self.close_connection = True  # the file became shorter

    def begin(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        """Send the status line and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def refuse(self, status: HTTPStatus) -> None:
        """Send a short error page."""
        page = f"<title>{status} {status.phrase}</title>\n<h1>{status.phrase}</h1>\n".encode()
        headers = {"Content-Type": "text/html", "Content-Length": str(len(page))}
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = _ALLOWED
        self.begin(status, headers)
        if self.command != "HEAD":
            self.wfile.write(page)

    def has_it(self, tag: str, changed: int) -> bool:
        """Whether the client has this version; If-None-Match takes precedence."""
        tags = self.headers.get("If-None-Match")
        if tags is not None:
            return tags.strip() == "*" or tag in re.findall(r'"[^"]*"', tags)
        try:
            since = parsedate_to_datetime(self.headers.get("If-Modified-Since", ""))
            return changed <= since.timestamp()
        except (TypeError, ValueError, OverflowError):
            return False

    def part(self, size: int, *, tag: str, changed: str) -> tuple[int, int] | None:
        """The requested range as start and end (exclusive), if it is a single valid one.

        Several ranges are answered with all of the file, as RFC 9110, section 14.2 allows.
        """
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "").replace(" ", ""))
        if asked is None or asked.group(0) == "bytes=-" or self.command != "GET":
            return None
        if self.headers.get("If-Range", tag) not in (tag, changed):
            return None
        if not asked[1]:
            return max(0, size - int(asked[2])), size
        start, end = int(asked[1]), int(asked[2]) + 1 if asked[2] else size
        return None if asked[2] and end <= start else (start, min(end, size))

    def version_string(self) -> str:
        """Disclose no version."""
        return "static-files"

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the proxy does."""


def open_file(folder: bytes, target: str, index: bytes) -> tuple[io.FileIO, str]:
    """The file that a request's target means, and its name.

    Raises:
        OSError: there is none, or it may not be read.
    """
    path = unquote_to_bytes(target.partition("?")[0])
    parts = [part for part in path.split(b"/") if part]
    if not parts or {b".", b".."} & set(parts) or b"\0" in path:
        raise FileNotFoundError(path)
    name = os.path.join(folder, *parts)
    if os.path.isdir(name):
        name += b"/" + index
    elif path.endswith(b"/"):
        raise NotADirectoryError(path)
    # Opening a pipe without a writer would block.
    file = io.FileIO(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError(name)
    return file, os.fsdecode(name)


def type_of(name: str) -> str:
    """The media type by file name; for a compressed file, that of the compression."""
    kind, encoding = mimetypes.guess_type(name)
    if encoding:
        return f"application/{encoding}"
    return kind or _NEWER_TYPES.get(os.path.splitext(name)[1].lower(), "application/octet-stream")


def main(address: str, folder: str) -> None:
    """Serve until stopped, and notify systemd when ready."""
    host, _, port = address.rpartition(":")
    with Server((host, int(port)), folder) as server:
        if "NOTIFY_SOCKET" in os.environ:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:  # sd_notify(3)
                systemd.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
