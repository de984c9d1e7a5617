"""Where a declared target is, and with which key it is asked. Keys are resolved at use and never stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.secrets import resolve_secret
from tasks.errors import ConfigError
from tasks.records import Asset


def url_of(asset: Asset) -> str:
    """The declared URL. Raises ConfigError when the inventory gives none."""
    keys = asset.props.get("keys")
    url = asset.props.get("url") or (keys.get("url") if isinstance(keys, Mapping) else None)
    if not isinstance(url, str) or not url:
        raise ConfigError(f"{asset.asset_id} is a probe target without a url; add `keys: {{url: …}}` in the inventory")
    return url


def principals(asset: Asset) -> tuple[Mapping[str, Any], ...]:
    """The declared tenants of a retrieval application, in the inventory's order."""
    declared = asset.props.get("principals")
    return (
        tuple(p for p in declared if isinstance(p, Mapping) and p.get("id"))
        if isinstance(declared, list | tuple)
        else ()
    )


def bearer_of(asset: Asset, principal: str | None = None) -> str | None:
    """The key for `principal`, or the target's own; None when it needs none.

    Raises ConfigError when the reference leads nowhere.
    """
    if principal is not None:
        for declared in principals(asset):
            if declared["id"] == principal:
                reference = declared.get("credential")
                return resolve_secret(str(reference)) if reference else None
    reference = asset.props.get("credential")
    if reference is None and (several := principals(asset)):
        reference = several[0].get("credential")
    return resolve_secret(str(reference)) if reference else None


def secrets_of(asset: Asset) -> tuple[str, ...]:
    """All keys of a target, for taking them out of what is stored.

    Raises ConfigError when one cannot be read, so that this shows before the first request.
    """
    references = [asset.props.get("credential"), *(p.get("credential") for p in principals(asset))]
    template = asset.props.get("http")
    headers = template.get("headers") if isinstance(template, Mapping) else None
    if isinstance(headers, Mapping):
        references += [v for v in headers.values() if isinstance(v, str) and v.startswith(("env:", "file:"))]
    return tuple(resolve_secret(str(reference)) for reference in references if reference)
