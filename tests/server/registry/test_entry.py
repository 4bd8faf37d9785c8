"""An entry's methods move it from state to state, and refuse a step that cannot be."""

from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.registry.entry import Entry, State
from server.registry.loader import ReadyModel

OLD, NEW = (("model.onnx", 1, 1),), (("model.onnx", 2, 2),)


def ready_model() -> ReadyModel:
    return cast(ReadyModel, object())


def entry() -> Entry:
    return Entry("demo", "1", Path("demo/1"), OLD)


def served() -> tuple[Entry, ReadyModel]:
    ready, model = entry(), ready_model()
    ready.begin()
    assert ready.succeed(model) is None
    return ready, model


def test_a_version_that_loads_is_ready_and_its_files_are_not_tried_again() -> None:
    loading = entry()
    assert (loading.state, loading.changed) == (State.LOADING, True)
    ready, _ = served()
    assert (ready.state, ready.changed) == (State.READY, False)
    ready.observe(NEW)
    assert ready.changed


def test_a_version_that_fails_says_why_and_may_be_tried_again() -> None:
    failed = entry()
    failed.begin()
    failed.fail("its labels are damaged")
    assert (failed.state, failed.reason, failed.changed) == (State.FAILED, "its labels are damaged", False)
    failed.begin()
    assert (failed.state, failed.reason) == (State.LOADING, "")


def test_a_served_version_stays_ready_while_newer_files_load_and_when_they_fail() -> None:
    ready, model = served()
    ready.observe(NEW)
    ready.begin()
    assert ready.state is State.READY
    ready.fail("its labels are damaged")
    assert (ready.state, ready.ready, ready.reason) == (State.READY, model, "its labels are damaged")
    ready.begin()
    assert ready.succeed(ready_model()) is model


def test_files_that_go_away_and_come_back_are_tried_again_only_after_a_failure() -> None:
    ready, _ = served()
    ready.observe(None)
    assert (ready.gone, ready.changed, ready.reason[:15]) == (True, False, "its files are g")
    ready.observe(OLD)
    assert (ready.gone, ready.changed) == (False, False)
    ready.begin()
    ready.fail("a file is missing")
    ready.observe(())  # as an unmounted volume looks
    assert ready.gone
    ready.observe(OLD)
    assert ready.changed


def test_what_an_operator_unloads_is_kept_out_and_what_was_replaced_is_not() -> None:
    unloaded, model = served()
    unloaded.pin(True)
    unloaded.keep_out()
    assert unloaded.retire() is model
    assert (unloaded.state, unloaded.changed, unloaded.pinned) == (State.UNLOADED, False, False)
    unloaded.allow_load()
    assert unloaded.changed


def test_only_what_serves_can_be_retired() -> None:
    with pytest.raises(AssertionError, match="this is a bug"):
        entry().retire()


STEPS = ("begin", "succeed", "fail", "skip", "retire")


@given(st.lists(st.sampled_from(STEPS), max_size=20))
def test_whatever_the_order_of_its_steps_an_entry_is_ready_exactly_while_a_model_serves(steps: list[str]) -> None:
    """Each step does what it says, or is refused as a bug and changes nothing."""
    one = entry()
    for step in steps:
        before = (one.state, one.ready)
        arguments = {"succeed": (ready_model(),), "fail": ("a reason",)}.get(step, ())
        try:
            getattr(one, step)(*arguments)
        except AssertionError:
            assert (one.state, one.ready) == before
        assert (one.state is State.READY) == (one.ready is not None)
