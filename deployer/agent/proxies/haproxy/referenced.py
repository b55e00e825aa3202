"""The files that HAProxy's configuration refers to: maps, pattern lists, certificates by name.

Of a certificate's file, which has its private key too, only the certificate is kept.
"""

from __future__ import annotations

import os
import re

from deployer.agent.files import names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.proxies.files import FileReader
    from deployer.agent.settings import Json

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
#: Comments, and lists of addresses: those of whole countries have megabytes, and no names.
_WITHOUT = re.compile(r"^\s*#.*|\bsrc[ \t]+(?:-[in][ \t]+)*(?:-f[ \t]+\S+[ \t]*)+", re.MULTILINE)
#: Files that HAProxy looks for next to a certificate.
_NEXT_TO_IT = (".key", ".ocsp", ".issuer", ".sctl")
_MOST_CERTIFICATES = 1000


def referenced(config: list[Json], main: int, reader: FileReader) -> list[Json]:
    """Maps, lists of patterns and of certificates, and certificates, by their names in `config`.

    A path that is not absolute is relative to the working folder of the process `main`.
    """
    text = "\n".join(_WITHOUT.sub("", each["text"]) for each in config)
    lists = re.findall(r"\bcrt-list\s+(\S+)", text)
    words = [
        *re.findall(r"\bmap(?:_(?!ip|int)\w+)?\(([^,)\s]+)", text),
        *re.findall(r"\s-f\s+(\S+)", text),
        *lists,
    ]
    folder = _working_folder(main)
    found = [_read(path, folder, reader) for path in dict.fromkeys(words)]
    files = [each for each in found if each is not None]
    texts = [each["text"] for each in files if each["path"] in lists]
    base = re.search(r"(?m)^\s*crt-base\s+(\S+)", text)
    names = re.findall(r"\bcrt\s+(\S+)", text)
    names += [name for each in texts for name in _first(each)]
    bare = [name.strip("\"'") for name in dict.fromkeys(names)]
    paths = [os.path.join(base.group(1), name) if base else name for name in bare]
    return [*files, *_certificates(paths, folder, reader)]


def _working_folder(main: int) -> str:
    try:
        return os.readlink(f"/proc/{main}/cwd")
    except OSError:
        return "/"


def _read(word: str, folder: str, reader: FileReader) -> Json | None:
    """A file under the name that the configuration has for it."""
    path = word.strip("\"'").partition("@")[2] or word.strip("\"'")
    found = reader.read(os.path.join(folder, path))
    if found is not None and found["path"] != word:
        found.update(path=word, real_path=found.get("real_path", found["path"]))
    return found


def _first(text: str) -> Iterator[str]:
    """The certificates of a crt-list, one at the start of each line."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words:
            yield words[0]


def _certificates(paths: list[str], folder: str, reader: FileReader) -> Iterator[Json]:
    names: list[str] = []
    for path in paths:
        whole = os.path.join(folder, path)
        if os.path.isdir(whole):
            names += [os.path.join(path, name) for name in sorted(names_in(whole))]
        elif os.path.exists(whole):
            names.append(path)
    names = list(dict.fromkeys(names))
    if len(names) > _MOST_CERTIFICATES:
        more = len(names) - _MOST_CERTIFICATES
        reader.notes.append(f"the names in {more} certificates of HAProxy were not read")
    for path in names[:_MOST_CERTIFICATES]:
        name = os.path.basename(path)
        if name.startswith(".") or name.endswith(_NEXT_TO_IT):
            continue
        found = _read(path, folder, reader)
        if found is None:
            continue
        certificate = "".join(_CERTIFICATE.findall(found["text"])[:1])
        reader.take_back(len(found["text"]) - len(certificate))
        if certificate:
            yield {**found, "text": certificate}
