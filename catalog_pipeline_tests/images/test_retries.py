"""Pauses between attempts of one picture, and hosts that are left alone."""

from __future__ import annotations

import time
from unittest.mock import Mock

import pytest
from tenacity import Future, RetryCallState

from catalog_pipeline.images.retries import (
    BACKOFF_SECONDS,
    HOST_GIVEN_UP_AFTER,
    HostWatch,
    TryAgainError,
    pause_before_next,
)


def attempt(number: int, error: Exception | None) -> RetryCallState:
    state = RetryCallState(Mock(), None, (), {})
    state.attempt_number = number
    if error is not None:
        state.outcome = Future.construct(number, error, True)
    return state


def test_pauses_grow_unless_the_server_names_one() -> None:
    failed = TryAgainError("time-out")
    pauses = [pause_before_next(attempt(number, failed)) for number in range(1, 6)]

    assert pauses == [*BACKOFF_SECONDS, BACKOFF_SECONDS[-1]]
    assert pause_before_next(attempt(3, TryAgainError("HTTP 429", host_asked=True))) == 0.0
    assert pause_before_next(attempt(2, ValueError("else"))) == BACKOFF_SECONDS[1]
    assert pause_before_next(attempt(2, None)) == BACKOFF_SECONDS[1]


def test_an_error_keeps_its_reason_and_whether_a_pause_was_asked_for() -> None:
    asked, broken = TryAgainError("HTTP 503", host_asked=True), TryAgainError("time-out")

    assert (str(asked), asked.reason, asked.host_asked) == ("HTTP 503", "HTTP 503", True)
    assert not broken.host_asked


def test_a_pause_holds_for_its_host_and_is_never_shortened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As on a machine that has just started.
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    hosts = HostWatch()

    hosts.pause("cdn.example", 30)
    hosts.pause("cdn.example", 5)

    hosts.pause("brief.example", 0.25)

    assert hosts.pause_left("brief.example") == 0.25
    assert hosts.pause_left("cdn.example") == 30
    assert hosts.pause_left("other.example") == 0
    now += 29.5
    assert hosts.pause_left("cdn.example") == 0.5
    now += 10
    assert hosts.pause_left("cdn.example") == 0


def test_a_host_is_given_up_after_failures_in_a_row_alone() -> None:
    hosts = HostWatch()
    hosts.record("cdn.example", failed=False)
    for _ in range(HOST_GIVEN_UP_AFTER - 1):
        hosts.record("cdn.example", failed=True)
    assert not hosts.has_given_up("cdn.example")
    hosts.record("cdn.example", failed=False)
    for _ in range(HOST_GIVEN_UP_AFTER - 1):
        hosts.record("cdn.example", failed=True)
    assert not hosts.has_given_up("cdn.example")

    hosts.record("cdn.example", failed=True)

    assert hosts.has_given_up("cdn.example")
    assert not hosts.has_given_up("other.example")
    assert HOST_GIVEN_UP_AFTER == 10
