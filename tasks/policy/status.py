"""What the policy server was told by the gateways."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx

from gateway.secrets import resolve_secret
from tasks.errors import ConfigError, IncompleteError

SCHEMA = "aispm.policy_status/1"
SECONDS = 10.0
"""For the answer; it is made from memory."""


def ask(url: str, token: str | None, ca: Path | None) -> dict[str, Any]:
    """The server's `/status`; `token` is a secret reference. Raises IncompleteError, ConfigError."""
    headers = {} if token is None else {"Authorization": f"Bearer {resolve_secret(token)}"}
    try:
        verify = True if ca is None else ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError):
        raise ConfigError("cannot read the certificate authority", ca) from None
    try:
        with httpx.Client(verify=verify, trust_env=False, timeout=SECONDS) as client:
            answer = client.get(f"{url.rstrip('/')}/status", headers=headers)
            document = answer.json() if answer.status_code == 200 else {}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as e:
        raise IncompleteError(f"the policy server cannot be asked ({type(e).__name__})") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise IncompleteError(f"{url} answers {answer.status_code} and no policy status; is it a policy server?")
    return document
