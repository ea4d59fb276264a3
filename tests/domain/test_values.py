"""The faster `replace` does what `dataclasses.replace` does, and what it makes is closed like any other value."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.domain import events as e
from tenure.domain.job import Job, Lease
from tenure.domain.states import Phase
from tenure.domain.values import replace
from tests.domain.life import T0, in_phase

names = st.sets(st.sampled_from([field.name for field in dataclasses.fields(Job)]))


@given(changed=names, phase=st.sampled_from(Phase))
def test_it_copies_and_changes_as_the_slow_one(changed: set[str], phase: Phase) -> None:
    job = in_phase(phase).job
    changes = {name: object() for name in changed}
    copy, slow = replace(job, **changes), dataclasses.replace(job, **changes)  # type: ignore[arg-type]
    assert copy == slow
    assert all(getattr(copy, field.name) is getattr(slow, field.name) for field in dataclasses.fields(Job))
    assert type(copy) is Job


def test_what_it_makes_is_closed() -> None:
    lease = in_phase(Phase.RUNNING).job.lease
    assert lease is not None
    copy = replace(lease, beats=4)
    assert (copy.beats, lease.beats) == (4, 0)
    assert hash(copy) == hash(dataclasses.replace(lease, beats=4))
    assert repr(copy) == repr(lease).replace("beats=0", "beats=4")
    assert not hasattr(copy, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        copy.beats = 5  # type: ignore[misc]


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(AttributeError):
        replace(e.Transfer(), files=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [Job, Lease])
def test_what_the_fold_copies_has_no_second_step_of_construction(value: type) -> None:
    """Such a step would be left out by the faster way."""
    assert not hasattr(value, "__post_init__")
    assert all(field.init for field in dataclasses.fields(value))


def test_a_long_fold_shares_what_does_not_change() -> None:
    life = in_phase(Phase.RUNNING)
    copy = replace(life.job, last_us=T0 + 1)
    assert copy.origin is life.job.origin
    assert copy.lease is life.job.lease
