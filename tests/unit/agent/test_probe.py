"""The probe's clockwork, with a clock of our own."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from isthmus.agent import probe as rules
from isthmus.agent.probe import Probe, Prober, Request, Target

NEAR = Target("cloud/web", ip_address("10.1.0.1"))
FAR = Target("cluster/pods", ip_address("10.2.0.1"))
FAR6 = Target("cluster/pods", ip_address("fd00:2::1"))

Answering = Callable[[Request, float], bool]


class World:
    """A network in which `answers` says who replies, `delay` seconds later."""

    def __init__(self, *targets: Target, delay: float = 0.005) -> None:
        self.now = 100.0
        self.delay = delay
        self.changes: list[str] = []
        self.sent: list[tuple[float, Request]] = []
        self.prober = Prober(self.changes.append, cookie=lambda: b"cookie")
        self.begin("1", *targets)

    def begin(self, generation: str, *targets: Target) -> None:
        self.prober.configure({"p": Probe("p", generation, targets)}, self.now)

    def run(self, seconds: float, answers: Answering = lambda *_: True) -> None:
        end = self.now + seconds
        back: list[tuple[float, Request]] = []
        while True:
            wake = self.prober.wake_at()
            moments = [when for when, _ in back[:1]] + ([wake] if wake is not None else [])
            if not moments or min(moments) > end:
                break
            self.now = max(self.now, min(moments))
            while back and back[0][0] <= self.now:
                self.reply(back.pop(0)[1])
            for request in self.prober.due(self.now):
                self.sent.append((self.now, request))
                if answers(request, self.now):
                    back.append((self.now + self.delay, request))
        self.now = end

    def reply(self, request: Request, cookie: bytes | None = None) -> bool:
        payload = cookie if cookie is not None else request.cookie + bytes(40)
        return self.prober.answered(request.probe, request.target.address, request.sequence, payload, self.now)

    def state(self) -> str | None:
        verdict = self.prober.verdicts().get("p")
        return verdict.state if verdict else None


def never(*_: object) -> bool:
    return False


def test_nothing_is_said_before_anything_is_known() -> None:
    world = World(FAR)
    assert world.state() is None
    world.run(1.5, never)
    assert world.state() is None


def test_one_answer_makes_a_new_probe_up() -> None:
    world = World(FAR)
    world.run(0.01)
    verdict = world.prober.verdicts()["p"]
    assert (verdict.state, verdict.generation, verdict.lost) == ("up", "1", ())
    assert verdict.since == pytest.approx(100.005)
    assert world.changes == ["p"]


def test_every_target_must_answer() -> None:
    world = World(NEAR, FAR)
    world.run(1, lambda request, _: request.target == NEAR)
    assert world.state() is None
    world.run(2, lambda request, _: request.target == NEAR)
    assert world.prober.verdicts()["p"].lost == ("cluster/pods 10.2.0.1",)
    world.run(1)
    assert world.state() == "up"


def test_a_probe_without_targets_is_up() -> None:
    assert World().state() == "up"


def test_a_new_target_is_asked_every_20_ms_for_two_seconds_then_every_200_then_every_second() -> None:
    world = World(FAR)
    world.run(1.999, never)
    assert len(world.sent) == pytest.approx(100, abs=1)
    world.sent.clear()
    world.run(10, never)
    assert len(world.sent) == pytest.approx(50, abs=1)
    world.run(60, never)
    world.sent.clear()
    world.run(20, never)
    assert len(world.sent) == pytest.approx(20, abs=1)


def test_an_answering_target_is_asked_once_a_second() -> None:
    world = World(FAR)
    world.run(0.05)
    world.sent.clear()
    world.run(30)
    assert len(world.sent) == pytest.approx(30, abs=1)


def test_three_lost_in_a_row_bring_it_down_within_five_seconds() -> None:
    world = World(FAR)
    world.run(10)
    world.changes.clear()
    world.run(2.5, never)
    assert world.state() == "up"
    world.run(2.5, never)
    verdict = world.prober.verdicts()["p"]
    assert (verdict.state, verdict.lost) == ("down", ("cluster/pods 10.2.0.1",))
    assert 112 < verdict.since < 115
    assert world.changes == ["p"]


def test_two_lost_and_one_answered_change_nothing() -> None:
    world = World(FAR)
    world.run(5)
    world.changes.clear()
    numbers = iter(range(1000))
    world.run(60, lambda *_: next(numbers) % 3 == 0)
    assert (world.state(), world.changes) == ("up", [])


def test_three_answers_in_a_row_bring_it_up_again() -> None:
    world = World(FAR)
    world.run(5)
    world.run(5, never)
    numbers = iter(range(1000))
    world.run(5, lambda *_: next(numbers) % 3 != 0)
    assert world.state() == "down"
    world.run(1)
    assert world.state() == "up"


def test_a_new_generation_is_proven_anew_and_old_answers_do_not_count() -> None:
    world = World(FAR)
    world.run(5)
    world.begin("2", FAR)
    assert world.state() is None
    assert not world.reply(world.sent[-1][1])
    assert world.state() is None
    world.run(0.1)
    assert world.prober.verdicts()["p"].generation == "2"


def test_the_same_configuration_again_changes_nothing() -> None:
    world = World(FAR)
    world.run(5)
    world.changes.clear()
    world.sent.clear()
    world.begin("1", FAR)
    world.run(5)
    assert len(world.sent) <= 6
    assert world.changes == []


def test_a_removed_probe_is_neither_asked_nor_spoken_of() -> None:
    world = World(FAR)
    world.run(5)
    world.prober.configure({}, world.now)
    world.sent.clear()
    world.run(5)
    assert (world.sent, world.state(), world.prober.wake_at()) == ([], None, None)
    assert not world.reply(Request("p", FAR, 1, b"cookie"))


def test_late_doubled_and_forged_answers_do_not_count() -> None:
    world = World(FAR)
    [request] = world.prober.due(world.now)
    assert not world.reply(request, cookie=b"guess")
    assert world.reply(request)
    assert not world.reply(request)
    [_, _, counts] = next(world.prober.counts())
    assert counts.received == 1


def test_losses_and_round_trips_are_counted_over_generations() -> None:
    world = World(FAR, FAR6, delay=0.25)
    world.run(10)
    world.begin("2", FAR, FAR6)
    world.run(10, lambda request, _: request.target == FAR)
    by_target = {target: counts for _, target, counts in world.prober.counts()}
    assert by_target[FAR].rtt_last == pytest.approx(0.25)
    assert by_target[FAR].rtt_sum == pytest.approx(0.25 * by_target[FAR].received)
    assert by_target[FAR6].lost > 50
    assert by_target[FAR6].received > 5


def test_a_change_of_who_is_lost_is_a_change() -> None:
    world = World(NEAR, FAR)
    world.run(5)
    world.run(6, lambda request, _: request.target == NEAR)
    since = world.prober.verdicts()["p"].since
    world.changes.clear()
    world.run(6, never)
    verdict = world.prober.verdicts()["p"]
    assert verdict.lost == ("cloud/web 10.1.0.1", "cluster/pods 10.2.0.1")
    assert verdict.since == since
    assert world.changes == ["p"]


def test_a_thousand_silent_probes_do_not_exceed_the_pace() -> None:
    world = World()
    probes = {f"p{n}": Probe(f"p{n}", "1", (NEAR, FAR)) for n in range(1000)}
    world.prober.configure(probes, world.now)
    world.run(2, never)
    assert len(world.sent) <= 2.1 * rules.BATCH / rules.PACE
    asked = {request.probe for _, request in world.sent}
    assert asked == set(probes)
