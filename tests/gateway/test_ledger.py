"""The ledger: no interleaving, restart, rollover or failure spends more than a limit, and little is left unspent."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import stat
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field

import fakeredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.ledger.leases import Charge, ExhaustedError, Ledger
from gateway.ledger.ledger import LedgerError, Refused, Share
from gateway.ledger.memory import MemoryStore
from gateway.ledger.redis import RedisStore, connect
from gateway.ledger.sqlite import SqliteStore

NOW = time.time()  # Redis forgets by its own clock, so tests must not live in the past
LATER = int(NOW) + 10**6
LEASE = 6.0


@pytest.fixture(params=["memory", "sqlite", "fakeredis", "redis"])
def open_store(request, tmp_path):
    """Makes connections to one empty storage; `open_store(fresh=True)` empties it first."""
    state: dict[str, object] = {"round": 0}

    def make(fresh: bool = False):
        if fresh:
            state["round"] += 1
        key = f"store{state['round']}"
        if request.param == "memory":  # one process, one store: all its workers are in it
            return state.setdefault(key, MemoryStore())
        if request.param == "sqlite":
            return SqliteStore(tmp_path / key)
        if request.param == "fakeredis":
            return RedisStore(fakeredis.FakeRedis(server=state.setdefault(key, fakeredis.FakeServer())))
        client = connect(request.getfixturevalue("redis_url"))
        if fresh or state.setdefault("empty", False) is False:
            client.flushall()
            state["empty"] = True
        return RedisStore(client)

    return make


def share(account="a", limit=1000, spent=0, lease=0, need=0, force=False):
    return Share(account, limit, spent, lease, need, force, LATER)


# -- one store --------------------------------------------------------------------------------------------------------


def test_a_lease_is_what_is_needed_and_a_hundredth_of_the_rest(open_store):
    store = open_store()
    (first,) = store.update("one", [share(lease=100, need=100)], NOW + LEASE, NOW)
    assert (first.lease, first.spent, first.leased, first.over) == (109, 0, 109, False)
    (second,) = store.update("two", [share(lease=800, need=800)], NOW + LEASE, NOW)
    assert second.lease == 800  # of the 91 left, a hundredth is nothing
    assert second.leased == 909


def test_a_refusal_changes_nothing_in_any_account_and_tells_what_may_come_back(open_store):
    store = open_store()
    store.update("one", [share("a", lease=900, need=900), share("b", lease=10, need=10)], NOW + LEASE, NOW)
    found = store.update("two", [share("b", lease=5, need=5), share("a", lease=200, need=200)], NOW + LEASE, NOW)
    assert found == Refused(1, 1000)  # everything that the first holds may come back
    (b,) = store.update("three", [share("b", lease=1, need=1)], NOW + LEASE, NOW)
    assert b.leased < 30  # nothing of the second's
    store.update("one", [share("a", spent=900)], NOW + LEASE, NOW)
    assert store.update("two", [share("a", lease=200, need=200)], NOW + LEASE, NOW) == Refused(0, 100)


def test_the_lease_of_a_dead_worker_stays_spent(open_store):
    """It is called lost once its time is over, and never comes back unless its holder does."""
    store = open_store()
    store.update("dead", [share(spent=300, lease=500, need=500)], NOW + LEASE, NOW)
    later = NOW + LEASE
    assert store.update("two", [share(lease=200, need=200)], later + LEASE, later) == Refused(0, 198)
    (standing,) = store.update("two", [share(lease=198, need=198)], later + LEASE, later)
    assert (standing.spent, standing.lease) == (300, 198)
    store.update("dead", [share(spent=310, lease=0)], later + LEASE, later)  # it was only slow
    assert isinstance(store.update("two", [share(lease=690, need=490)], later + LEASE, later), tuple)


def test_repeating_a_call_whose_answer_was_lost_changes_nothing(open_store):
    store = open_store()
    ask = [share(spent=10, lease=990, need=10)]
    first = store.update("one", ask, NOW + LEASE, NOW)
    assert store.update("one", ask, NOW + LEASE, NOW) == first
    assert isinstance(store.update("two", [share(lease=1, need=1)], NOW + LEASE, NOW), Refused)


def test_what_is_forced_is_booked_beyond_the_limit_and_said(open_store):
    store = open_store()
    (standing,) = store.update("one", [share(lease=1500, need=1500, force=True)], NOW + LEASE, NOW)
    assert (standing.lease, standing.over) == (1500, True)
    assert isinstance(store.update("two", [share(lease=1, need=1)], NOW + LEASE, NOW), Refused)


def test_a_limit_that_a_new_policy_lowers_holds_for_what_is_asked_next(open_store):
    store = open_store()
    store.update("one", [share(spent=400, lease=100, need=100)], NOW + LEASE, NOW)
    assert store.update("one", [share(limit=450, spent=400, lease=60, need=60)], NOW + LEASE, NOW) == Refused(0, 50)
    (standing,) = store.update("one", [share(limit=450, spent=400, lease=90)], NOW + LEASE, NOW)
    assert standing.over


def test_accounts_of_the_past_are_forgotten(open_store, request):
    store = open_store()
    old = share(lease=1000, need=1000)._replace(keep_until=int(NOW) + 1)
    store.update("one", [old], NOW + LEASE, NOW)
    if "redis" in request.node.callspec.id:
        time.sleep(2)
    store.purge(NOW + 2)
    (standing,) = store.update("two", [share(lease=1000, need=1000)], NOW + LEASE, NOW + 2)
    assert standing.leased == 1000


STEPS = st.lists(
    st.tuples(
        st.sampled_from("xyz"),
        st.lists(
            st.tuples(st.sampled_from("ab"), st.integers(0, 60), st.integers(-80, 120), st.booleans()),
            min_size=1,
            max_size=2,
            unique_by=lambda s: s[0],
        ),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_every_store_keeps_the_rule_of_a_simple_model(open_store, steps):
    """The model knows shares as numbers: nothing is granted that would break the limit, nothing else is refused, and a
    call changes all its accounts or none."""
    store, limit = open_store(fresh=True), 500
    spent: dict[tuple[str, str], int] = defaultdict(int)
    lease: dict[tuple[str, str], int] = defaultdict(int)
    for holder, parts in steps:
        asked = []
        for account, cost, change, force in parts:
            at = (account, holder)
            cost = min(cost, lease[at])
            left = lease[at] - cost
            need = max(0, change)
            force = force and need > 0 and sum(spent.values()) % 7 == 0
            asked.append((at, Share(account, limit, spent[at] + cost, max(0, left + change), need, force, LATER)))
        fits = []
        for (account, _), s in asked:
            others = sum(spent[a, h] + lease[a, h] for a, h in set(spent) | set(lease) if a == account and h != holder)
            fits.append(s.force or not s.need or others + s.spent + s.lease <= limit)
        found = store.update(holder, [s for _, s in asked], NOW + LEASE, NOW)
        assert isinstance(found, tuple) and not isinstance(found, Refused) if all(fits) else isinstance(found, Refused)
        if isinstance(found, Refused):
            assert not fits[found.place]
            continue
        for (at, s), standing in zip(asked, found, strict=True):
            assert standing.lease >= s.lease
            spent[at], lease[at] = s.spent, standing.lease
        for (at, s), standing in zip(asked, found, strict=True):
            mine = [h for a, h in set(spent) | set(lease) if a == at[0]]
            assert standing.spent == sum(spent[at[0], h] for h in mine)
            assert standing.leased == sum(lease[at[0], h] for h in mine)
            assert standing.over == (s.lease + standing.spent + standing.leased - standing.lease > limit)
            if not s.force and s.need:
                assert standing.spent + standing.leased <= limit


# -- workers with leases ----------------------------------------------------------------------------------------------


@dataclass
class Worker:
    ledger: Ledger
    open: list[tuple[object, int]] = field(default_factory=list)


WORK = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "reserve", "settle", "settle", "flush", "renew", "kill", "wait"]),
        st.integers(0, 2),
        st.integers(0, 400),
        st.integers(0, 100),
    ),
    max_size=60,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WORK)
def test_workers_never_spend_more_than_the_limit_and_strand_nothing(open_store, work):
    """Three workers in any order of steps, some killed: settled and reserved money stays within both limits; when all
    have settled and given back, everything but the leases of the killed can still be spent, to the last unit."""

    async def run() -> None:
        clock = [NOW]
        boots = iter(range(1000))
        open_store(fresh=True)

        def boot() -> Worker:
            return Worker(Ledger(open_store(), f"w{next(boots)}", LEASE, lambda: clock[0]))

        workers, settled, lost = [boot() for _ in range(3)], 0, 0
        limits = {"day": 3000, "month": 5000}

        def charges(amount: int) -> list[Charge]:
            return [Charge(name, limit, amount, LATER) for name, limit in limits.items()]

        def held() -> int:
            return sum(amount for w in workers for _, amount in w.open)

        for step, who, amount, percent in work:
            worker = workers[who]
            if step == "reserve":
                with contextlib.suppress(ExhaustedError):
                    worker.open.append((await worker.ledger.reserve(charges(amount)), amount))
            elif step == "settle" and worker.open:
                reservation, amount = worker.open.pop(0)
                cost = amount * percent // 100
                worker.ledger.settle(reservation, cost)
                settled += cost
            elif step in ("flush", "renew"):
                await worker.ledger.flush(renew=step == "renew")
            elif step == "kill":
                lost += sum(amount for _, amount in worker.open)
                purse = worker.ledger._purses.get("day")
                lost += purse.free if purse else 0
                worker.ledger._thread.shutdown()
                workers[who] = boot()
            elif step == "wait":
                clock[0] += amount / 20
            assert settled + held() <= 3000
        for worker in workers:
            for reservation, _ in worker.open:
                worker.ledger.settle(reservation, 0)
            await worker.ledger.give_back()
        rest = 3000 - settled - lost
        with pytest.raises(ExhaustedError):
            await workers[0].ledger.reserve(charges(rest + 1))
        last = await workers[1].ledger.reserve(charges(rest))
        workers[1].ledger.settle(last, rest)
        for worker in workers:
            await worker.ledger.give_back()
            worker.ledger._thread.shutdown()

    asyncio.run(run())


def test_the_usual_request_does_not_ask_the_store(open_store):
    """A lease is a hundredth of what is left: the second request is served from it."""

    async def run() -> None:
        store = open_store()
        asked = []
        update = store.update
        store.update = lambda *a: asked.append(a) or update(*a)
        ledger = Ledger(store, "w", LEASE, lambda: NOW)
        charge = [Charge("a", 10**6, 100, LATER)]
        for _ in range(50):
            ledger.settle(await ledger.reserve(charge), 90)
        assert len(asked) == 1
        await ledger.close()

    asyncio.run(run())


def test_more_than_was_reserved_is_booked_and_counts_for_everyone(open_store):
    async def run() -> None:
        one, two = (Ledger(open_store(), name, LEASE, lambda: NOW) for name in "ab")
        charge = [Charge("a", 1000, 100, LATER)]
        one.settle(await one.reserve(charge), 950)
        await one.flush()
        with pytest.raises(ExhaustedError) as refused:
            await two.reserve(charge)
        assert not refused.value.held
        assert (await two.reserve([Charge("a", 1000, 50, LATER)])).parts
        for ledger in (one, two):
            ledger._thread.shutdown()

    asyncio.run(run())


def test_where_money_is_short_none_lies_idle(open_store):
    """A worker that is refused gives back what it could not use, so that another can."""

    async def run() -> None:
        one, two = (Ledger(open_store(), name, LEASE, lambda: NOW) for name in "ab")
        await one.reserve([Charge("a", 1000, 100, LATER)])  # and a lease of 9
        await two.reserve([Charge("a", 1000, 891, LATER)])
        await one.flush()
        with pytest.raises(ExhaustedError):
            await two.reserve([Charge("a", 1000, 9, LATER)])
        with pytest.raises(ExhaustedError):
            await one.reserve([Charge("a", 1000, 10, LATER)])
        await one.flush()
        assert (await two.reserve([Charge("a", 1000, 9, LATER)])).parts
        for ledger in (one, two):
            ledger._thread.shutdown()

    asyncio.run(run())


def test_a_refusal_for_good_is_remembered_and_a_refusal_for_now_is_not(open_store):
    async def run() -> None:
        clock = [NOW]
        one, two = (Ledger(open_store(), name, LEASE, lambda: clock[0]) for name in "ab")
        held = await one.reserve([Charge("a", 1000, 1000, LATER)])
        with pytest.raises(ExhaustedError) as refused:
            await two.reserve([Charge("a", 1000, 1, LATER)])
        assert refused.value.held
        one.settle(held, 999)
        await one.flush()
        with pytest.raises(ExhaustedError) as refused:
            await two.reserve([Charge("a", 1000, 2, LATER)])
        assert not refused.value.held
        update, two._store.update = two._store.update, None
        with pytest.raises(ExhaustedError):  # without asking the store
            await two.reserve([Charge("a", 1000, 2, LATER)])
        two._store.update = update
        two.settle(await two.reserve([Charge("a", 1000, 1, LATER)]), 1)
        assert (await two.reserve([Charge("a", 2000, 2, LATER)])).parts  # a new policy allows more
        for ledger in (one, two):
            ledger._thread.shutdown()

    asyncio.run(run())


def test_a_request_that_is_cancelled_while_it_asks_leaves_nothing_reserved(open_store):
    async def run() -> None:
        store = open_store()
        update = store.update
        store.update = lambda *a: (time.sleep(0.05), update(*a))[1]
        ledger = Ledger(store, "w", LEASE, lambda: NOW)
        task = asyncio.create_task(ledger.reserve([Charge("a", 1000, 1000, LATER)]))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await ledger.reserve([Charge("a", 1000, 1000, LATER)])).parts
        ledger._thread.shutdown()

    asyncio.run(run())


def test_a_store_that_fails_refuses_and_forgets_nothing(open_store, monkeypatch):
    """Neither a call that failed nor one whose answer was lost lets anything be spent twice."""
    monkeypatch.setattr("gateway.ledger.leases.DOWN_SECONDS", 0.0)

    async def run() -> None:
        store = open_store()
        update = store.update

        def broken(*_):
            raise LedgerError("down")

        def deaf(*a):
            update(*a)
            raise LedgerError("answer lost")

        one, two = Ledger(store, "a", LEASE, lambda: NOW), Ledger(store, "b", LEASE, lambda: NOW)
        charge = [Charge("x", 1000, 600, LATER)]
        for fault in (broken, deaf):
            store.update = fault
            with pytest.raises(LedgerError):
                await one.reserve(charge)
        store.update = update
        with pytest.raises(ExhaustedError):  # the call that was lost still holds
            await two.reserve(charge)
        first = await one.reserve(charge)
        one.settle(first, 100)
        store.update = deaf
        with pytest.raises(LedgerError):
            await one.give_back()
        store.update = broken
        with pytest.raises(LedgerError):  # what was given back may have arrived: it is not spent from here
            await one.reserve([Charge("x", 1000, 1, LATER)])
        store.update = update
        assert (await two.reserve([Charge("x", 1000, 900, LATER)])).parts
        for ledger in (one, two):
            ledger._thread.shutdown()

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(5))
def test_keeping_ends_also_when_something_wakes_it_just_then(turns):
    """A gateway that ends right after a request would wait forever."""

    async def steps():
        ledger = Ledger(MemoryStore(), "one", LEASE, lambda: NOW)
        keeping = asyncio.create_task(ledger.keep())
        await asyncio.sleep(0.01)
        reservation = await ledger.reserve([Charge("a", 1000, 10, LATER)])
        ledger.settle(reservation, 50)
        for _ in range(turns):
            await asyncio.sleep(0)
        keeping.cancel()
        done, _ = await asyncio.wait([keeping], timeout=2)
        await ledger.close()
        return bool(done)

    assert asyncio.run(steps())


def test_a_store_that_is_down_is_not_asked_by_everyone_who_waits(monkeypatch):
    """Fifty requests wait for one time-out, not for fifty; a moment later the store is asked again."""
    monkeypatch.setattr("gateway.ledger.leases.DOWN_SECONDS", 0.2)

    async def run() -> None:
        store = MemoryStore()
        update, asked = store.update, []

        def down(*_):
            asked.append(1)
            time.sleep(0.01)
            raise LedgerError("down")

        store.update = down
        ledger = Ledger(store, "w", LEASE, lambda: NOW)
        charge = [Charge("a", 10**6, 100, LATER)]
        found = await asyncio.gather(*(ledger.reserve(charge) for _ in range(50)), return_exceptions=True)
        assert {type(f) for f in found} == {LedgerError}
        assert len(asked) == 1
        store.update = update
        await asyncio.sleep(0.25)
        ledger.settle(await ledger.reserve(charge), 100)
        await ledger.close()

    asyncio.run(run())


# -- SQLite and Redis -------------------------------------------------------------------------------------------------

HAMMER = """
import sys, time
from pathlib import Path
from gateway.ledger.ledger import Refused, Share
from gateway.ledger.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
got = 0
while True:
    found = store.update(sys.argv[2], [Share("a", 2000, 0, got + 1, 1, False, 2**40)], 1e12, 1.0)
    if isinstance(found, Refused):
        break
    got = found[0].lease
print(got)
"""


def test_processes_that_open_a_new_file_together_share_it_exactly(tmp_path):
    path = tmp_path / "ledger.sqlite"
    children = [
        subprocess.Popen([sys.executable, "-c", HAMMER, str(path), str(n)], stdout=subprocess.PIPE) for n in range(4)
    ]
    assert sum(int(child.communicate(timeout=60)[0]) for child in children) == 2000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_ledger_file_that_is_no_ledger_is_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to be looked at as one\n" * 100)
    with pytest.raises(LedgerError, match="cannot be opened"):
        SqliteStore(tmp_path / "text")
    with pytest.raises(LedgerError, match="cannot be opened"):
        SqliteStore(tmp_path / "no" / "folder")
    other = sqlite3.connect(tmp_path / "newer")
    other.execute("pragma user_version = 99")
    other.close()
    with pytest.raises(LedgerError, match="another version"):
        SqliteStore(tmp_path / "newer")


def test_a_sqlite_ledger_that_is_locked_for_long_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.ledger.sqlite.BUSY_SECONDS", 0.1)
    store = SqliteStore(tmp_path / "ledger")
    other = sqlite3.connect(tmp_path / "ledger", isolation_level=None)
    other.execute("begin exclusive")
    with pytest.raises(LedgerError, match="does not answer"):
        store.update("w", [share(lease=1, need=1)], NOW, NOW)
    other.execute("rollback")
    assert store.update("w", [share(lease=1, need=1)], NOW, NOW)
    other.close()


def test_a_redis_ledger_that_is_away_is_an_error():
    server = fakeredis.FakeServer()
    store = RedisStore(fakeredis.FakeRedis(server=server))
    server.connected = False
    with pytest.raises(LedgerError, match="does not answer"):
        store.update("w", [share(lease=1, need=1)], NOW, NOW)
    with pytest.raises(LedgerError, match="cannot be reached"):
        RedisStore(connect("redis://127.0.0.1:1/0"))
    with pytest.raises(ConfigError, match="redis://"):
        connect("http://user:secret@127.0.0.1/")


def test_a_redis_call_that_loses_a_race_decides_anew():
    """Another holder takes the rest between the look and the write."""
    server = fakeredis.FakeServer()
    store, other = (RedisStore(fakeredis.FakeRedis(server=server)) for _ in range(2))
    attempt, raced = store._attempt, []

    def slow(*args):
        pipeline = store._client.pipeline

        def late():
            pipe = pipeline()
            execute = pipe.execute

            def lose():
                if not raced:
                    raced.append(other.update("b", [share(lease=900, need=900)], NOW + LEASE, NOW))
                return execute()

            pipe.execute = lose
            return pipe

        store._client.pipeline = late
        try:
            return attempt(*args)
        finally:
            store._client.pipeline = pipeline

    store._attempt = slow
    assert isinstance(store.update("a", [share(lease=200, need=200)], NOW + LEASE, NOW), Refused)
    assert raced[0][0].lease == 901
