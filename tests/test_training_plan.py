"""A plan whose choices contradict each other is refused before any work."""

from dataclasses import replace

import pytest
import tiny_set

from foveate.errors import SettingError


@pytest.fixture
def plan(tmp_path):
    return tiny_set.plan(tmp_path)


@pytest.fixture
def beside(plan, tmp_path):
    return tiny_set.with_healthy_eyes(plan, tmp_path)


@pytest.mark.parametrize("minutes", [float("nan"), float("inf"), 0.0, -1.0])
def test_minutes_that_are_no_time_are_refused(plan, minutes):
    with pytest.raises(SettingError, match="a number above 0, or leave out --minutes"):
        replace(plan, minutes=minutes)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_thread_is_refused(plan, threads):
    with pytest.raises(SettingError, match=f"threads is {threads}; give 1 or more"):
        replace(plan, threads=threads)


def test_healthy_eyes_that_the_recipe_does_not_use_are_refused(beside, plan):
    with pytest.raises(SettingError, match=r"recipe tiny: healthy_share is 0, .* or leave out --healthy"):
        replace(beside, recipe=plan.recipe)


def test_a_healthy_eye_of_a_photographs_name_is_refused(beside):
    with pytest.raises(
        SettingError, match="IDRiD_01 is the name of both a photograph of the set and a healthy eye"
    ):
        replace(beside, healthy=[replace(beside.healthy[0], name="IDRiD_01")])
