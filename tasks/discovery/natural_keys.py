"""Natural keys: what makes two observations the same asset, strongest first, and how each is normalised."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

KEY_ORDER: tuple[str, ...] = (
    "arn",
    "azure_id",
    "gcp_name",
    "launch",
    "tool",
    "deployment",
    "url",
    "weights_sha256",
    "model",
    "engine",
    "repo",
    "k8s",
    "otel",
    "cloud_scope",
    "inventory_id",
)
"""Key types from strongest to weakest. `deployment` is one model behind a shared URL (`url#model`)."""

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SECRET_FLAGS = ("key", "token", "secret", "password", "credential", "auth")


def normalise_url(url: str) -> str:
    """Lower-case scheme and host, default port dropped, no user info, query, fragment or trailing slash.

    The path keeps its case (RFC 3986 section 6.2.2.1 lowers scheme and host only). Text that is no URL comes back
    stripped, so that hostile input stays a plain key.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return url.strip()
    if not parts.scheme or not parts.hostname:
        return url.strip()
    scheme = parts.scheme.lower()
    host = parts.hostname.lower()
    host = f"[{host}]" if ":" in host else host
    shown = "" if port is None or _DEFAULT_PORTS.get(scheme) == port else f":{port}"
    return f"{scheme}://{host}{shown}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool | None:
    """Whether the URL's host is this machine; None when the text has no host."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    if not host:
        return None
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_secrets(args: Sequence[str]) -> list[str]:
    """Arguments with the values of flags that sound like credentials replaced by `…`."""
    kept: list[str] = []
    hide_next = False
    for arg in args:
        if hide_next:
            kept.append("…")
            hide_next = False
            continue
        name, sep, _ = arg.partition("=")
        secret = name.startswith("-") and any(word in name.lower() for word in _SECRET_FLAGS)
        kept.append(f"{name}=…" if secret and sep else arg)
        hide_next = secret and not sep
    return kept


def canonical_launch(package: str | None, command: Sequence[str], args: Sequence[str]) -> str:
    """The key of a server that is started rather than called: package (or command) and arguments less secrets."""
    kept = without_secrets(args)
    if package is None and command:
        package, kept = _package(command[0], [*command[1:], *kept])
        if package is None:
            return " ".join([command[0], *kept])
    return " ".join([package or " ".join(command), *kept]).strip()


def _package(runner: str, words: list[str]) -> tuple[str | None, list[str]]:
    """The package URL behind `npx -y NAME@VERSION …` or `uvx NAME@VERSION …`, and the remaining arguments."""
    ecosystem = {"npx": "npm", "bunx": "npm", "pnpx": "npm", "uvx": "pypi", "pipx": "pypi"}.get(
        runner.rpartition("/")[2]
    )
    plain = [i for i, word in enumerate(words) if not word.startswith("-") and word != "run"]
    if ecosystem is None or not plain:
        return None, words
    name = words[plain[0]].replace("==", "@")
    return f"pkg:{ecosystem}/{name}", words[plain[0] + 1 :]


def strongest(keys: Mapping[str, str]) -> tuple[str, str]:
    """The (type, value) that names the asset. Raises ValueError when there is none of a known type."""
    for key_type in KEY_ORDER:
        if keys.get(key_type):
            return key_type, keys[key_type]
    raise ValueError(f"no natural key of a known type among {sorted(keys)}; known: {', '.join(KEY_ORDER)}")


def tool_key(server_keys: Mapping[str, str], name: str) -> str:
    """The key of one tool of an MCP server: the server's strongest key and the tool's name."""
    key_type, key = strongest(server_keys)
    return f"{key_type}:{key}#{name}"


def normalised(keys: Mapping[str, str]) -> dict[str, str]:
    """Known, non-empty keys in order of strength, URLs normalised."""
    return {t: normalise_url(keys[t]) if t == "url" else keys[t] for t in KEY_ORDER if keys.get(t)}
