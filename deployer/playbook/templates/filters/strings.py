"""Text: regular expressions, comments, quoting, paths, URLs."""

from __future__ import annotations

import ntpath
import posixpath
import re
import shlex
from collections.abc import Callable

from deployer.model import Value
from deployer.playbook.templates import limits, patterns
from deployer.playbook.templates.kinds import as_text, is_list, kind, required_text


def _flags(ignorecase: bool, multiline: bool) -> int:
    return (re.IGNORECASE if ignorecase else 0) | (re.MULTILINE if multiline else 0)


def regex_replace(
    value: object = "",
    pattern: str = "",
    replacement: str = "",
    ignorecase: bool = False,
    multiline: bool = False,
    count: int = 0,
    mandatory_count: int = 0,
) -> str:
    text = as_text(value)
    found, times = patterns.replace(
        pattern, _flags(ignorecase, multiline), replacement, text, count
    )
    if mandatory_count and mandatory_count != times:
        raise ValueError(f"'{pattern}' must match {mandatory_count} times, but matches {times}")
    return found


def regex_search(
    value: object, pattern: str, *groups: str, ignorecase: bool = False, multiline: bool = False
) -> Value:
    wanted = [_group(each) for each in groups]
    match = patterns.find("search", pattern, _flags(ignorecase, multiline), as_text(value))
    if match is None:
        return None
    return [match.group(each) for each in wanted] if wanted else match.group()


def _group(reference: str) -> str | int:
    named = re.match(r"\\g<(\S+)>", reference)
    if named is not None:
        return named[1]
    numbered = re.match(r"\\(\d+)", reference)
    if numbered is None:
        raise ValueError(rf"a group is written '\\1' or '\\g<name>', not {reference!r}")
    return int(numbered[1])


def regex_findall(
    value: object, pattern: str, multiline: bool = False, ignorecase: bool = False
) -> list[Value]:
    return patterns.find_all(pattern, _flags(ignorecase, multiline), as_text(value))


def regex_escape(value: object, re_type: str = "python") -> str:
    text = as_text(value)
    if re_type == "python":
        return re.escape(text)
    if re_type == "posix_basic":
        return re.sub(r"([].[^$*\\])", r"\\\1", text)
    raise ValueError(f"re_type must be python or posix_basic, not {re_type}")


def quote(value: object) -> str:
    return shlex.quote("" if value is None else as_text(value))


_STYLES: dict[str, dict[str, Value]] = {
    "plain": {"decoration": "# "},
    "erlang": {"decoration": "% "},
    "c": {"decoration": "// "},
    "cblock": {"beginning": "/*", "decoration": " * ", "end": " */"},
    "xml": {"beginning": "<!--", "decoration": " - ", "end": "-->"},
}
_COMMENT_PARTS = {"newline", "beginning", "prefix", "prefix_count", "decoration"} | {
    "postfix",
    "postfix_count",
    "end",
}


def comment(value: object, style: str = "plain", **parts: Value) -> str:
    if style not in _STYLES:
        raise ValueError(f"comment supports the styles {', '.join(_STYLES)}, not {style!r}")
    if set(parts) - _COMMENT_PARTS:
        raise ValueError(f"comment takes {', '.join(sorted(_COMMENT_PARTS))}")
    text = required_text(value)
    line = str(parts.get("decoration", _STYLES[style]["decoration"])).rstrip()
    given: dict[str, Value] = {
        "newline": "\n",
        "beginning": "",
        "end": "",
        "prefix": line,
        "postfix": line,
    }
    given |= {"prefix_count": 1, "postfix_count": 1, **_STYLES[style], **parts}
    newline, decoration, prefix = given["newline"], given["decoration"], given["prefix"]
    limits.check_text(len(text) + (text.count(newline) + 1) * (len(decoration) + len(newline)))
    body = decoration + text.replace(newline, newline + decoration)
    body = body.replace(decoration + newline, decoration.rstrip() + newline)
    before: str = f"{given['beginning']}{newline}" if given["beginning"] else ""
    if prefix:
        before += (newline if prefix == newline else prefix + newline) * int(given["prefix_count"])
    after = f"{newline}{given['postfix']}" * int(given["postfix_count"])
    return f"{before}{body}{after}" + (f"{newline}{given['end']}" if given["end"] else "")


def split(value: object, separator: str | None = None, count: int = -1) -> list[str]:
    return required_text(value).split(separator, count)


def urlsplit(value: object, query: str = "") -> Value:
    from urllib.parse import urlsplit as split_url

    parts = split_url(required_text(value))
    names = ["fragment", "hostname", "netloc", "password", "path", "port", "query", "scheme"]
    names.append("username")
    found = {name: getattr(parts, name) for name in names}
    if not query:
        return found
    if query not in found:
        raise ValueError(f"urlsplit has {', '.join(found)}")
    return found[query]


def urldecode(value: object) -> str:
    from urllib.parse import unquote_plus

    return unquote_plus(required_text(value))


def path_join(paths: Value) -> str:
    if isinstance(paths, str):
        return paths
    if not is_list(paths):
        raise TypeError(f"path_join requires a list of paths, not {kind(paths)}")
    return posixpath.join(*paths)


def commonpath(paths: Value) -> str:
    if not is_list(paths):
        raise TypeError(f"commonpath requires a list of paths, not {kind(paths)}")
    return posixpath.commonpath(paths)


def relpath(value: object, start: str | None = None) -> str:
    path = required_text(value)
    if start is None or not (path.startswith("/") and start.startswith("/")):
        raise ValueError("relpath requires two absolute paths: relpath('/start')")
    return posixpath.relpath(path, start)


def _of_path(function: Callable[[str], Value]) -> Callable[[object], Value]:
    return lambda value: function(required_text(value))


def search(value: object, pattern: str, ignorecase: bool = False, multiline: bool = False) -> bool:
    return regex(value, pattern, ignorecase, multiline, "search")


def match(value: object, pattern: str, ignorecase: bool = False, multiline: bool = False) -> bool:
    return regex(value, pattern, ignorecase, multiline, "match")


def regex(
    value: object,
    pattern: str = "",
    ignorecase: bool = False,
    multiline: bool = False,
    match_type: str = "search",
) -> bool:
    if match_type not in ("search", "match", "fullmatch"):
        raise ValueError("match_type must be search, match or fullmatch")
    flags = _flags(ignorecase, multiline)
    return patterns.find(match_type, pattern, flags, as_text(value)) is not None


def is_uri(value: Value, schemes: Value = None) -> bool:
    from urllib.parse import urlparse

    try:
        scheme = urlparse(value).scheme
        return not schemes or scheme in schemes
    except (ValueError, AttributeError, TypeError):
        return False


def is_url(value: Value, schemes: Value = None) -> bool:
    from urllib.parse import urlparse

    if not is_uri(value, schemes):
        return False
    parts = urlparse(value)
    return bool(parts.netloc or parts.scheme == "file")


FILTERS: dict[str, Callable[..., Value]] = {
    "basename": _of_path(posixpath.basename),
    "comment": comment,
    "commonpath": commonpath,
    "dirname": _of_path(posixpath.dirname),
    "normpath": _of_path(posixpath.normpath),
    "path_join": path_join,
    "quote": quote,
    "regex_escape": regex_escape,
    "regex_findall": regex_findall,
    "regex_replace": regex_replace,
    "regex_search": regex_search,
    "relpath": relpath,
    "split": split,
    "splitext": _of_path(posixpath.splitext),
    "urldecode": urldecode,
    "urlsplit": urlsplit,
    "win_basename": _of_path(ntpath.basename),
    "win_dirname": _of_path(ntpath.dirname),
    "win_splitdrive": _of_path(ntpath.splitdrive),
}

TESTS: dict[str, Callable[..., bool]] = {
    "match": match,
    "regex": regex,
    "search": search,
    "uri": is_uri,
    "url": is_url,
    "urn": lambda value: is_uri(value, ["urn"]),
    "abs": lambda value: posixpath.isabs(value),
    "is_abs": lambda value: posixpath.isabs(value),
}
