"""agentlog: what keeps an agent within its budget, its patience and its time."""

from __future__ import annotations

import asyncio

import pytest
from agentlines import Log

from agentlog import BudgetExceeded, RetriesExhausted

# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_call_that_would_pass_the_ceiling_is_refused_before_it_begins():
    """And the refusal is a line; what fits to the last token may go on."""
    log = Log()
    with pytest.raises(BudgetExceeded) as refused, log.session(session_id="s1", token_ceiling=1_000) as s:
        with s.action("llm_call", expected_tokens=600) as a:
            a.tokens(prompt=500, completion=100)
        with s.action("llm_call", expected_tokens=400) as a:
            a.tokens(prompt=300)
        with s.action("llm_call", expected_tokens=101):
            pytest.fail("it began")
    assert str(refused.value) == (
        "session s1 may use 1000 tokens: 900 are spent, 0 held by open actions, and 101 more do not fit"
    )
    lines = log.lines()
    assert [(line["action"], line["status"]) for line in lines] == [
        ("llm_call", "success"),
        ("llm_call", "success"),
        ("llm_call", "error"),
        ("session_end", "success"),
    ]
    assert lines[2]["error"]["type"] == "BudgetExceeded"
    assert lines[3]["metadata"] == {"session_end": True, "task_completed": False}


def test_a_call_that_took_more_than_expected_stops_what_comes_next():
    """Whatever that is, and whether it said what it expects or not."""
    log = Log()
    with log.session(token_ceiling=100) as s:
        with s.action("llm_call", expected_tokens=50) as a:
            a.tokens(completion=101)
        with pytest.raises(BudgetExceeded), s.action("web_search"):
            pytest.fail("it began")


def test_calls_at_the_same_time_hold_what_they_expect():
    """Three of four fit; what the first did not use is there again once it has ended."""
    log = Log()

    async def call(s, answer: asyncio.Event):
        async with s.action("llm_call", expected_tokens=300) as a:
            await answer.wait()
            a.tokens(prompt=10)

    async def run():
        async with log.session(token_ceiling=1_000) as s:
            answer = asyncio.Event()
            calls = [asyncio.create_task(call(s, answer)) for _ in range(4)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            answer.set()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in results] == [type(None)] * 3 + [BudgetExceeded]
            assert s.spent == 30
            with s.action("llm_call", expected_tokens=970):
                pass

    asyncio.run(run())
    assert [line["status"] for line in log.lines()] == ["error", "success", "success", "success", "success", "success"]


# --- retries ----------------------------------------------------------------------------------------------------------


def test_an_agents_own_retries_are_counted_and_stopped():
    """retry() says that it is being tried again."""
    log = Log()
    with pytest.raises(RetriesExhausted, match="act was tried again 2 times"), log.session(max_retries=2) as s:
        with s.action("act") as a:
            while True:
                a.retry()
    assert log.lines()[0]["metadata"] == {"retry_count": 2}


class Flaky:
    """Fails so many times."""

    def __init__(self, failures: int, error: type[BaseException] = OSError) -> None:
        self.failures = failures
        self.error = error

    def __call__(self) -> str:
        if self.failures:
            self.failures -= 1
            raise self.error("flaky")
        return "done"


def test_attempts_go_on_until_one_works_and_wait_longer_each_time():
    """Each is an action with its count of retries; waits are random up to a limit that doubles, and stops at the cap."""
    log = Log()
    flaky = Flaky(5)
    with log.session() as s:
        for attempt in s.attempts("fetch", input="x", max_retries=9, base=1.0, cap=5.0):
            with attempt as a:
                a.output = flaky()
    lines = log.lines()
    assert [(line["status"], line["metadata"].get("retry_count")) for line in lines] == [
        *(("error", n) for n in range(5)),
        ("success", 5),
        ("success", None),
    ]
    assert lines[5]["output"] == "done"
    assert len(log.hands.slept) == 5
    assert all(0 <= slept <= most for slept, most in zip(log.hands.slept, (1, 2, 4, 5, 5), strict=True))


def test_attempts_end_in_an_error_that_says_so():
    """The last error is its cause; it has been told, so the session's end does not tell it again."""
    log = Log()
    with pytest.raises(RetriesExhausted, match="fetch failed 3 times: OSError") as raised, log.session(max_retries=2) as s:
        for attempt in s.attempts("fetch"):
            with attempt:
                Flaky(9)()
    assert isinstance(raised.value.__cause__, OSError)
    assert [line["status"] for line in log.lines()] == ["error", "error", "error", "success"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_only_errors_that_are_worth_it_are_tried_again(error):
    """What is not listed passes at once; nobody's wish to end is overruled."""
    log = Log()
    with pytest.raises(error), log.session() as s:
        for attempt in s.attempts("fetch", retry_on=OSError):
            with attempt:
                Flaky(1, error)()
    assert log.hands.slept == []
    assert len(log.lines()) == 2


def test_an_exhausted_budget_is_not_tried_again():
    """It would be exhausted still."""
    log = Log()
    with pytest.raises(BudgetExceeded), log.session(token_ceiling=10) as s:
        for attempt in s.attempts("llm_call", expected_tokens=11):
            with attempt:
                pytest.fail("it began")
    assert log.hands.slept == []


def test_attempts_can_be_awaited():
    """The same, with a hard timeout for each of them."""
    log = Log()
    flaky = Flaky(1)

    async def run():
        async with log.session(timeout=0.01) as s:
            async for attempt in s.attempts("fetch", max_retries=2):
                async with attempt as a:
                    a.output = flaky()
                    if not log.hands.slept[1:]:
                        await asyncio.Event().wait()

    asyncio.run(run())
    assert [line["status"] for line in log.lines()] == ["error", "timeout", "success", "success"]


# --- time -------------------------------------------------------------------------------------------------------------


def test_an_async_action_is_ended_at_its_timeout():
    """What waits for ever is cancelled, and comes out as a TimeoutError; the task goes on."""
    log = Log()

    async def run():
        async with log.session() as s:
            with pytest.raises(TimeoutError, match=r"fetch took longer than 0.01 s"):
                async with s.action("fetch", timeout=0.01):
                    await asyncio.Event().wait()
            await asyncio.sleep(0)
            async with s.action("quick", timeout=60):
                pass

    asyncio.run(run())
    assert [(line["action"], line["status"]) for line in log.lines()] == [
        ("fetch", "timeout"),
        ("quick", "success"),
        ("session_end", "success"),
    ]


def test_somebody_elses_cancellation_is_not_taken_for_a_timeout():
    """It passes, as it has to."""
    log = Log()

    async def run():
        began = asyncio.Event()

        async def act():
            async with log.session() as s, s.action("fetch", timeout=60):
                began.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(act())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert [line["status"] for line in log.lines()] == ["cancelled", "success"]


def test_both_at_once_is_a_cancellation():
    """A task that is cancelled while its timeout ends it must end."""
    log = Log()

    async def run():
        async def act():
            async with log.session() as s, s.action("fetch", timeout=0):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    task.cancel()
                    raise

        task = asyncio.create_task(act())
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert log.lines()[0]["status"] == "cancelled"


def test_a_sync_action_is_told_what_time_remains():
    """Python cannot interrupt a function that does not return; it can say how long to wait, and refuse to go on."""
    log = Log()
    with pytest.raises(TimeoutError, match="fetch took longer than 10 s"), log.session(timeout=10) as s:
        with s.action("fetch") as a:
            assert a.remaining == 10
            log.hands.at += 4
            assert a.remaining == 6
            log.hands.at += 6
            assert a.remaining
    assert log.lines()[0]["status"] == "timeout"


def test_an_action_of_its_own_timeout_goes_by_that():
    """And without any there is no limit."""
    log = Log()
    with log.session(timeout=10) as s, s.action("slow", timeout=60) as a:
        assert a.remaining == 60
    with log.session() as s, s.action("free") as a:
        assert a.remaining is None


def test_a_timeout_in_a_thread_of_its_own_loop_needs_no_main_task():
    """asyncio.run in a worker thread."""
    log = Log()

    async def fetch():
        async with log.session() as s, s.action("fetch", timeout=0.01):
            await asyncio.Event().wait()

    async def run():
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(asyncio.run, fetch())

    asyncio.run(run())
    assert log.lines()[0]["status"] == "timeout"
