"""Which endpoint a raw path means. Matched byte for byte: nothing is folded or resolved, and only a model's name is
decoded, for events. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from gateway.settings import Route
from gateway.wire import APIS
from gateway.wire.format import Api, Endpoint


@dataclass(frozen=True, slots=True)
class Place:
    """What a path means. Without `endpoint` it means nothing; `api` is then the likeliest one of its client."""

    api: Api
    route: str | None = None
    endpoint: Endpoint | None = None
    segment: str | None = None
    """The model as it is written in the path, percent-encoded; None when the body names it."""

    @property
    def model(self) -> str | None:
        """Its name."""
        return None if self.segment is None else unquote(self.segment)

    @property
    def upstream_path(self) -> str:
        """Below the route's `base_url`."""
        if self.endpoint is None:
            raise RuntimeError("there is no upstream for an unknown path")
        return self.endpoint.upstream.replace("{model}", self.segment or "")


class Routing:
    """The paths of all routes: `/<name>/…` of each, and `/…` of the one called `default`."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._exact: dict[str, Place] = {}
        self._patterns: list[tuple[re.Pattern[str], Place]] = []
        self._apis = {name: APIS[route.api] for name, route in routes.items()}
        for name, api in self._apis.items():
            for prefix in (f"/{name}", "") if name == "default" else (f"/{name}",):
                for endpoint in api.endpoints:
                    place = Place(api, name, endpoint)
                    if "{model}" in endpoint.path:
                        self._patterns.append((endpoint.pattern(prefix), place))
                    else:
                        self._exact[prefix + endpoint.path] = place

    def find(self, raw_path: str) -> Place:
        """What `raw_path`, with its query, means."""
        place = self._exact.get(raw_path)
        if place is not None:
            return place
        for pattern, place in self._patterns:
            found = pattern.fullmatch(raw_path)
            if found is not None:
                return Place(place.api, place.route, place.endpoint, found["model"])
        first = raw_path[1:].partition("/")[0]
        return Place(self._apis.get(first) or self._apis.get("default") or next(iter(self._apis.values())))
