"""What a text does to the system behind it: SQL, shell, addresses, paths, templates, terminals.

Each function reads one value as its consumer would and names what breaks out of its place, or returns None. Nothing is
executed, resolved or fetched. An ordinary name with an apostrophe, `R&D` or a web address is no finding.
"""

from __future__ import annotations

import contextlib
import ipaddress
import posixpath
import re
import shlex
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote, urlsplit

MAX_CHARS = 20_000
"""Of one value; longer ones are read up to here."""

# Two places a careless program puts a value into: between quotes, and bare where a number is expected. The condition
# behind it shows a comment that swallows the rest of the statement.
_SLOTS = (
    "EXPLAIN SELECT name FROM record WHERE name = '{}' AND tenant = 'own'",
    "EXPLAIN SELECT name FROM record WHERE id = {} AND tenant = 'own'",
)


def sql(value: str) -> str | None:
    """Whether `value`, put into a statement, changes more than a literal.

    SQLite compiles the statement with the value and with a harmless one; other instructions mean another statement.
    """
    value = value[:MAX_CHARS].replace("\0", "")
    with contextlib.closing(_database()) as database:
        for slot, harmless in zip(_SLOTS, ("x", "7"), strict=True):
            try:
                changed = _program(database, slot.format(value)) != _program(database, slot.format(harmless))
            except sqlite3.OperationalError:
                continue  # no statement any more, as with O'Brien: an error, not a breakout
            except (sqlite3.ProgrammingError, sqlite3.Warning):  # the class differs between Python versions
                return "a second statement"
            except (sqlite3.DatabaseError, ValueError):
                continue
            if changed:
                return "another statement than the one meant"
    return None


def _database() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE record (id INTEGER, name TEXT, tenant TEXT)")
    database.execute("CREATE TABLE staff (id INTEGER, name TEXT, tenant TEXT)")
    return database


def _program(database: sqlite3.Connection, statement: str) -> list[str]:
    return [row[1] for row in database.execute(statement)]


def shell(value: str) -> str | None:
    """Whether a shell that gets `value` as an unquoted word runs something more."""
    value = value[:MAX_CHARS]
    bare = re.sub(r"'[^']*'", "''", value)
    if re.search(r"\$\([^)]+\)|`[^`]+`|<\([^)]+\)", bare):
        return "command substitution"
    lexer = shlex.shlex(bare, posix=False, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    tokens: list[str] = []
    try:
        tokens.extend(lexer)
    except ValueError:
        tokens = re.findall(r"[();<>|&]+|[^\s();<>|&]+", bare)  # a quote that never closes
    for token, following in zip(tokens, [*tokens[1:], ""], strict=False):
        if token in (";", "|", "||", "&&") and re.match(r"[A-Za-z_./]", following):
            return f"operator {token}"
        if token in (">", ">>", "<") and re.match(r"[./~]", following):
            return f"redirection {token}"
    if re.search(r"\n\s*[a-z_./][\w./-]*(?:\s|$)", bare):
        return "a second line"
    return None


_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}):/{1,3}([^\s<>\"'`]*)", re.IGNORECASE)
_LOCAL_NAMES = re.compile(r"(?:^|\.)(?:localhost|local|internal|intranet|lan|corp|home\.arpa|localdomain)\.?$")
_SCHEMES = frozenset({"file", "gopher", "dict", "ldap", "jar", "netdoc", "phar"})


def internal_url(value: str) -> str | None:
    """Whether `value` holds an address of this host, its network or its cloud's metadata service.

    Addresses count in every notation a resolver takes: decimal, octal, hexadecimal, shortened, mapped into IPv6.
    """
    for match in _URL.finditer(value[:MAX_CHARS]):
        scheme = match[1].casefold()
        if scheme in _SCHEMES:
            return f"scheme {scheme}"
        try:
            host = urlsplit(f"http://{match[2].lstrip('/')}").hostname or ""
        except ValueError:
            continue
        if (what := _internal_host(unquote(host))) is not None:
            return what
    bare = value.strip()
    if re.fullmatch(r"[\w.:\[\]-]{3,253}(?::\d+)?(?:/\S*)?", bare) and re.search(r"\d|localhost|\.", bare):
        try:
            host = urlsplit(f"http://{bare}").hostname or ""
        except ValueError:
            return None
        numeric = re.fullmatch(r"[0-9a-fx.:]+", host) is not None
        if numeric and not re.search(r"[.:]|^0x", host):
            return None  # a plain number is an amount or an id until a scheme says otherwise
        return _internal_host(host)
    return None


def _internal_host(host: str) -> str | None:
    if not host:
        return None
    if _LOCAL_NAMES.search(host.casefold()):
        return "a local name"
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        address = ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))  # as the C library reads 2130706433 or 0x7f.1
        except (OSError, UnicodeEncodeError):
            return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return "this host"
    if address.is_link_local:
        return "a link-local address"
    return "a private address" if address.is_private else None


def path(value: str) -> str | None:
    """Whether `value`, as a name inside a folder, leads out of it; percent signs are decoded as often as they nest."""
    plain = value[:MAX_CHARS].strip()
    for _ in range(3):
        plain = unquote(plain)
    plain = plain.replace("\\", "/").split("\0", 1)[0]
    if re.match(r"(?i)file:|~[\w-]*/|[a-z]:/", plain):
        return "an absolute path"
    if plain.startswith("/") and len(plain) > 1:
        return "an absolute path"
    inside = posixpath.normpath(posixpath.join("/folder", plain))
    return None if inside == "/folder" or inside.startswith("/folder/") else "leads out of its folder"


_EXPRESSIONS = (
    re.compile(r"\{\{(.{1,400}?)\}\}", re.DOTALL),
    re.compile(r"[$#*]\{(.{1,400}?)\}", re.DOTALL),
    re.compile(r"<%=?(.{1,400}?)%>", re.DOTALL),
    re.compile(r"\{%(.{1,400}?)%\}", re.DOTALL),
)
_GLUE = re.compile(r"[\"']\s*(?:\+|~|\.|\|\||,)\s*[\"']")


def expressions(text: str) -> Iterator[str]:
    """Template expressions in `text`, with literals that the engine would join already joined."""
    for pattern in _EXPRESSIONS:
        for match in pattern.finditer(text[: MAX_CHARS * 5]):
            yield _GLUE.sub("", match[1])


_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|\x1b[@-Z\\^_]"
)


def terminal(text: str) -> Iterator[str]:
    """What a terminal would act on: the text with its control sequences gone, and the sequences themselves.

    Nothing when there is none (ECMA-48 CSI and OSC, in their 7-bit and 8-bit forms).
    """
    found = _SEQUENCE.findall(text)
    if found:
        yield _SEQUENCE.sub("", text)
        yield from found


def ngram_overlap(source: str, text: str, n: int) -> float:
    """Share of the word n-grams of `source` that `text` repeats, 0.0 to 1.0; 0.0 for a source shorter than n words."""
    wanted = _ngrams(source, n)
    return len(wanted & _ngrams(text, n)) / len(wanted) if wanted else 0.0


def _ngrams(text: str, n: int) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return frozenset(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


ARGUMENT_READERS: Mapping[str, Callable[[str], str | None]] = {
    "sql": sql,
    "shell": shell,
    "internal_url": internal_url,
    "path": path,
}
"""Readers of tool arguments, by the name that family files use."""
