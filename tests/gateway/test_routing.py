"""A path means one endpoint, byte for byte, or nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway import routing
from gateway.routing import Routing
from gateway.settings import Route
from gateway.wire import APIS
from gateway.wire.format import Endpoint

NAMED = replace(
    APIS["openai"],
    endpoints=(Endpoint("/v9/models/{model}:write", "/models/{model}:write", APIS["openai"].endpoints[0].format),),
)


@pytest.fixture
def routes(monkeypatch):
    monkeypatch.setitem(routing.APIS, "named", NAMED)
    return Routing({"default": Route("https://a.example/v1"), "n": Route("https://b.example", api="named")})


@pytest.mark.parametrize(
    ("path", "route", "upstream"),
    [
        ("/v1/chat/completions", "default", "/chat/completions"),
        ("/default/v1/chat/completions", "default", "/chat/completions"),
        ("/n/v9/models/sim-1.0:write", "n", "/models/sim-1.0:write"),
    ],
)
def test_known_paths(routes, path, route, upstream):
    place = routes.find(path)
    assert (place.route, place.upstream_path) == (route, upstream)


@pytest.mark.parametrize(
    "path",
    [
        "/n/v9/models/:write",
        "/n/v9/models/a/b:write",
        "/n/v9/models/..:write",
        "/n/v9/models/a%2fb:write",
        "/n/v9/models/a:b:write",
        "/n/v9/models/a:write?key=1",
        "/n/v9/models/a:write\n",
        "/n/v9/models/ä:write",
        f"/n/v9/models/{'a' * 129}:write",
        "/v9/models/a:write",
        "/n/v1/chat/completions",
        "/v1/chat/completions#",
        "",
        "*",
    ],
)
def test_everything_else_means_nothing(routes, path):
    assert routes.find(path).endpoint is None


def test_an_unknown_path_is_refused_in_the_words_of_its_routes_api(routes):
    assert routes.find("/n/v9/other").api is NAMED
    assert routes.find("/v9/other").api is APIS["openai"]
    assert Routing({"n": Route("https://b.example", api="named")}).find("/x").api is NAMED


def test_a_place_that_is_none_has_no_upstream(routes):
    with pytest.raises(RuntimeError):
        _ = routes.find("/x").upstream_path
