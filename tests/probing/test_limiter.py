"""The limiter by an injected clock: no limit is passed, pauses hold for all, and a dead target is left alone."""

from __future__ import annotations

import random

import pytest

from tasks.targets.limiter import RECOVERY, SLOT_POLL_S, WINDOW_S, Limiter, Pass


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def passed(leave: Pass | float) -> Pass:
    assert isinstance(leave, Pass), leave
    return leave


@pytest.mark.parametrize("seed", range(5))
def test_no_window_of_a_minute_holds_more_than_the_limits(seed: int) -> None:
    """Whenever workers ask again just when they are told to, any sixty seconds keep both limits."""
    rng, clock = random.Random(seed), Clock()
    limiter = Limiter(64, requests_per_minute=40, tokens_per_minute=5_000, clock=clock)
    sent: list[tuple[float, int]] = []
    while len(sent) < 300:
        tokens = rng.randint(1, 400)
        leave = limiter.attempt(tokens)
        if isinstance(leave, Pass):
            sent.append((clock.now, tokens))
            limiter.leave(leave)
            clock.now += rng.random() * 0.2
        else:
            clock.now += leave
    assert clock.now > 1_000 + WINDOW_S, "the limits were never felt"
    for start, _ in sent:
        inside = [tokens for at, tokens in sent if start <= at < start + WINDOW_S - 1e-6]
        assert len(inside) <= 40
        assert sum(inside) <= 5_000


def test_usage_gives_reserved_tokens_back_and_what_is_larger_than_the_limit_goes_alone() -> None:
    clock = Clock()
    limiter = Limiter(tokens_per_minute=100, clock=clock)
    first = passed(limiter.attempt(90))
    assert isinstance(limiter.attempt(20), float)
    limiter.leave(first, tokens=10)
    passed(limiter.attempt(90))
    assert limiter.attempt(500) == pytest.approx(WINDOW_S)
    clock.now += WINDOW_S
    passed(limiter.attempt(500))


def test_slots_halve_once_per_generation_and_grow_back_slowly() -> None:
    clock = Clock()
    limiter = Limiter(16, clock=clock)
    burst = [passed(limiter.attempt(0)) for _ in range(16)]
    assert limiter.attempt(0) == SLOT_POLL_S
    for leave in burst:
        clock.now += 0.01
        limiter.leave(leave, throttled=True)
    assert limiter.slots == 8, "sixteen 429 of one burst are one message"
    clock.now += 1
    limiter.leave(passed(limiter.attempt(0)), throttled=True)
    assert limiter.slots == 4
    for n in range(1, 12 * RECOVERY + 1):
        limiter.leave(passed(limiter.attempt(0)))
        assert limiter.slots == min(16, 4 + n // RECOVERY)


def test_a_pause_holds_for_everybody_and_ten_failures_in_a_row_end_it() -> None:
    clock = Clock()
    limiter = Limiter(clock=clock)
    limiter.pause(7)
    limiter.pause(3)
    assert limiter.attempt(0) == pytest.approx(7)
    clock.now += 7
    for _ in range(9):
        limiter.leave(passed(limiter.attempt(0)), failed=True)
    limiter.leave(passed(limiter.attempt(0)))
    for _ in range(9):
        limiter.leave(passed(limiter.attempt(0)), failed=True)
    assert limiter.stopped is None
    limiter.leave(passed(limiter.attempt(0)), failed=True)
    limiter.give_up("throttled")
    assert limiter.stopped == "circuit_open", "the first reason stays"
