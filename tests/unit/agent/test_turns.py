"""Requests one after another, and those that nobody wants any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from isthmus.agent import cni
from isthmus.agent.cni import Refused, Request
from isthmus.agent.turns import Turns, whole


def request(command: str, container: str = "c1", pod: str = "web-0") -> Request:
    words = {"COMMAND": command, "CONTAINERID": container, "NETNS": "/run/netns/x", "IFNAME": "eth0"}
    words["ARGS"] = f"K8S_POD_NAMESPACE=red;K8S_POD_NAME={pod}"
    return cni.read({"cniVersion": "1.0.0", "name": "x"}, words)


class Story:
    """Requests that are served for as long as the test lets them, and what was seen of it."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.seen: list[str] = []
        self.let = asyncio.Event()

    def ask(self, name: str, asked: Request) -> asyncio.Task[str]:
        return asyncio.create_task(self.turns.take(asked, self.work(name)))

    def work(self, name: str) -> Callable[[], Any]:
        async def work() -> str:
            self.seen.append(f"{name} begins")
            try:
                await self.let.wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                self.seen.append(f"{name} cleans up")
                raise
            self.seen.append(f"{name} ends")
            return name

        return work


async def turn() -> None:
    """Everybody does what she can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_others_do_not_wait() -> None:
    async def story() -> list[str]:
        it = Story()
        asked = [it.ask(f"{i}", request("ADD", f"c{i}", f"web-{i}")) for i in range(3)]
        await turn()
        assert len(it.turns.requests) == 3
        it.let.set()
        assert await asyncio.gather(*asked) == ["0", "1", "2"]
        await turn()
        assert not it.turns.requests
        return it.seen

    assert asyncio.run(story())[:3] == ["0 begins", "1 begins", "2 begins"]


def test_requests_of_one_container_are_served_in_their_order() -> None:
    async def story() -> list[str]:
        it = Story()
        asked = [it.ask(name, request(command)) for name, command in (("a", "CHECK"), ("b", "DEL"), ("c", "ADD"))]
        await turn()
        assert it.seen == ["a begins"]
        it.let.set()
        await asyncio.gather(*asked)
        return it.seen

    assert asyncio.run(story()) == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


@pytest.mark.parametrize("later", [request("DEL"), request("ADD", "c2")], ids=["its DEL", "the Pod's next container"])
def test_an_add_that_nobody_wants_any_more_cleans_up_before_the_next_begins(later: Request) -> None:
    async def story() -> list[str]:
        it = Story()
        add, waiting = it.ask("add", request("ADD")), it.ask("again", request("ADD"))
        await turn()
        next_one = it.ask("next", later)
        for ended in (add, waiting):
            with pytest.raises(Refused) as refused:
                await ended
            assert refused.value.code == cni.AGAIN
        it.let.set()
        assert await next_one == "next"
        return it.seen

    assert asyncio.run(story()) == ["add begins", "add cleans up", "next begins", "next ends"]


def test_whoever_asks_and_goes_takes_the_work_along() -> None:
    async def story() -> list[str]:
        it = Story()
        add = it.ask("add", request("ADD"))
        await turn()
        add.cancel()
        with pytest.raises(asyncio.CancelledError):
            await add
        return it.seen

    assert asyncio.run(story()) == ["add begins", "add cleans up"]


def test_a_step_comes_to_its_end_however_often_it_is_cancelled() -> None:
    async def story() -> list[str]:
        seen: list[str] = []
        let = asyncio.Event()

        async def step() -> None:
            await let.wait()
            seen.append("done")

        task = asyncio.create_task(whole(step()))
        await turn()
        for _ in range(2):
            task.cancel()
            await turn()
            assert not task.done()
        let.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen

    assert asyncio.run(story()) == ["done"]
