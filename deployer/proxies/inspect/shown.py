"""Quoted configuration lines without credentials. Pure.

A line of a proxy's configuration is quoted if it explains a symptom. Readers of a report may not be
allowed to read root's files: passwords in addresses, tokens in queries, and values that headers are
set to or compared with are replaced by an ellipsis. The values of a few headers are known to be
harmless; all others are treated as secrets, unless they are variables.
"""

from __future__ import annotations

import re

_MASK = "…"
#: Headers that hold no secrets.
_OPEN_HEADERS = (
    "upgrade|connection|host|origin|forwarded|x[-_]forwarded[-_][\\w-]+|x[-_]real[-_]ip|via|te|"
    "user[-_]agent|referer|accept(?:[-_]\\w+)?|content[-_][\\w-]+|cache[-_]control|server|"
    "sec[-_]websocket[-_](?:version|protocol|extensions)|keep[-_]alive|early[-_]data|"
    "strict[-_]transport[-_]security|expect|x[-_]powered[-_]by|alt[-_]svc|location"
)
_HEADER = rf"(?!(?:{_OPEN_HEADERS})\b(?![-_]))[\w-]+"
_TELLING = (
    "access[-_]?key|api[-_]?key|auth|authorization|code|credentials?|jwt|key|pass|passwd|password|"
    "passphrase|pwd|secret|session|session[-_]?id|sid|sig|signature|ticket|token"
)
#: A value: quoted, or a word; neither starts like a variable.
_VALUE = r"(?:\"[^\"$%]*\"|'[^'$%]*'|(?![$%\"'{}!=|`])[^\s\"'{};)`]+)"
_FLAGS = r"(?:\s+(?:-i|-n|-M|-m\s+\w+|-f\s+\S+|--|eq|str|beg|end|sub|reg))*"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # https://user:password@host, and without a scheme
    (re.compile(r"(?<=//)[^\s/@\"'`]+@"), f"{_MASK}@"),
    (re.compile(r"(?<=[\"'\s])[\w.-]+:[^\s/@:\"'`]+@(?=[\w\[])"), f"{_MASK}@"),
    # ?token=…, secret=… of a ProxyPass, "password=…"
    (
        re.compile(rf"(?i)(?<![\w-])((?:[\w.-]*[_.-])?(?:{_TELLING})=)(?![$%=])[^\s&;\"'<>`)]+"),
        rf"\g<1>{_MASK}",
    ),
    (re.compile(r"(?<=[?&])([\w.-]+=)(?![$%])[^\s&;\"'<>`)]+"), rf"\g<1>{_MASK}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), _MASK),
    # Basic dXNlcjpw, Bearer …
    (re.compile(r"\b(Basic|Bearer|Digest)\\?\s+(?=\S*[A-Z0-9=+/])[\w+/=.~-]{4,}"), rf"\1 {_MASK}"),
    # proxy_set_header X-Key "…", set-header X-Key …, RequestHeader set X-Key …
    (
        re.compile(
            r"(?i)((?:\b(?:set|add|replace)-header|\b(?:proxy_set|add|more_set_input)_header|"
            rf"\b(?:RequestHeader|Header)(?:\s+always)?\s+\w+)\s+{_HEADER})\s+{_VALUE}"
        ),
        rf"\1 {_MASK}",
    ),
    # if ($http_x_key != …), $cookie_…, $arg_…
    (
        re.compile(
            rf"(?i)(\$(?:http_{_HEADER}|cookie_\w+|arg_\w+|\w*(?:{_TELLING})\w*)\"?\s*"
            rf"(?:!?=|!?~\*?)?\s+)\(?{_VALUE}"
        ),
        rf"\1{_MASK}",
    ),
    # %{HTTP:X-Key} !=…
    (
        re.compile(
            rf"(?i)(%\{{(?:HTTP:{_HEADER}|HTTP_(?:AUTHORIZATION|COOKIE))\}}[\s!=~\-eq]*){_VALUE}"
        ),
        rf"\1{_MASK}",
    ),
    # { req.hdr(X-Key) -m str … }, cook(…), url_param(…)
    (
        re.compile(
            rf"(?i)(\b[\w.]*(?:hdr(?:_\w+)?\(\s*{_HEADER}[^)]*\)|(?:cook|url_param|urlp)(?:_\w+)?"
            rf"\([^)]*\))(?:,[\w.]+(?:\([^)]*\))?)*(?!\s+-m\s+found){_FLAGS})"
            rf"(?:\s+(?!(?:or|if|unless)\b){_VALUE})+"
        ),
        rf"\1 {_MASK}",
    ),
    # user … password …, stats auth user:…, server … cookie …
    (
        re.compile(r"\b((?:insecure-)?password|stats auth|cookie)\s+(?=\S*[\dA-Z])[^\s`]+"),
        rf"\1 {_MASK}",
    ),
)


def without_credentials(text: str) -> str:
    """`text` (a line, or a sentence that quotes one) without credentials."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text
