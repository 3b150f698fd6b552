"""The alias of a LiteLLM proxy, over its own routes."""

from __future__ import annotations

import json

import httpx
import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from deploy.errors import DeployerUnavailable, StageError
from deploy.steer_testing import FakeSteer, check_steer
from deploy.vllm.gateways import GatewayOptions, LiteLLM, LiteLLMOptions, make_steer


class FakeProxy:
    """``/model/info`` and ``/model/update`` with two deployments of ``prod`` and one of another model."""

    def __init__(self, *, database: bool = True, deaf: bool = False) -> None:
        self.database, self.deaf = database, deaf
        self.models = {"1": ("prod", "hosted_vllm/a@1"), "2": ("prod", "hosted_vllm/a@1"), "3": ("other", "openai/x")}

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] != "Bearer master":
            return httpx.Response(401, json={"error": {"message": "Authentication Error"}})
        if request.url.path == "/model/info":
            data = [
                {"model_name": name, "litellm_params": {"model": model}, "model_info": {"id": i}}
                for i, (name, model) in self.models.items()
            ]
            return httpx.Response(200, json={"data": data})
        assert request.url.path == "/model/update"
        if not self.database:
            return httpx.Response(500, json={"error": {"message": "No DB Connected"}})
        body = json.loads(request.content)
        changed = body["model_info"]["id"]
        if not self.deaf:
            self.models[changed] = (self.models[changed][0], body["litellm_params"]["model"])
        return httpx.Response(200, json={})


def steer(proxy: FakeProxy, *, key: str = "master", model: str = "prod") -> LiteLLM:
    options = LiteLLMOptions(kind="litellm", url="http://proxy", key=SecretStr(key), model=model)
    return LiteLLM(options, http=lambda: httpx.AsyncClient(transport=httpx.MockTransport(proxy.answer)))


async def test_a_proxy_keeps_the_port() -> None:
    proxy = FakeProxy()
    await check_steer(steer(proxy), "a@1", "b@2")
    assert proxy.models["3"] == ("other", "openai/x")


async def test_deployments_that_differ_are_aimed_at_nothing() -> None:
    proxy = FakeProxy()
    proxy.models["2"] = ("prod", "hosted_vllm/b@2")
    assert await steer(proxy).aimed() == ""
    assert await steer(proxy, model="none").aimed() == ""


@pytest.mark.parametrize(
    ("proxy", "asked", "error", "message"),
    [
        (FakeProxy(database=False), {}, StageError, "must keep its models in a database"),
        (FakeProxy(deaf=True), {}, StageError, "took b@2 and does not serve it"),
        (FakeProxy(), {"model": "none"}, StageError, "has no model none"),
        (FakeProxy(), {"key": "wrong"}, DeployerUnavailable, "answers 401 to /model/info; check url and key"),
    ],
)
async def test_a_proxy_that_does_not_do_it_says_why(
    proxy: FakeProxy, asked: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await steer(proxy, **asked).aim("b@2")


async def test_a_proxy_that_is_down_is_unavailable() -> None:
    def down(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    options = LiteLLMOptions(kind="litellm", url="http://proxy", key=SecretStr("k"), model="prod")
    asked = make_steer(options, http=lambda: httpx.AsyncClient(transport=httpx.MockTransport(down)))
    with pytest.raises(DeployerUnavailable, match=r"LiteLLM at http://proxy does not answer \(ConnectError\)"):
        await asked.aimed()


async def test_the_fake_keeps_the_port_and_the_check_catches_a_deaf_one() -> None:
    class Deaf(FakeSteer):
        async def aim(self, model: str) -> None:
            return None

    await check_steer(FakeSteer(), "a@1", "b@2")
    with pytest.raises(AssertionError, match="it was aimed at 'a@1' and says ''"):
        await check_steer(Deaf(), "a@1", "b@2")


def test_a_gateway_is_named_by_kind() -> None:
    read = TypeAdapter[object](GatewayOptions)
    found = read.validate_python({"kind": "haproxy-map", "socket": "/s", "map": "/m", "model": "prod"})
    assert type(found).__name__ == "HaproxyMapOptions"
    with pytest.raises(ValidationError, match="kind"):
        read.validate_python({"kind": "nginx"})
    with pytest.raises(ValidationError, match="String should match"):
        read.validate_python({"kind": "haproxy-map", "socket": "/s", "map": "/m", "model": "a b"})
