"""What may be chosen is spelt alike wherever it is chosen, and is what there is."""

import inspect
import typing

import pytest

from foveate import choices
from foveate.cli.options import EngineOptions
from foveate.cli.options.predict import DeviceOptions
from foveate.engines.choice import EngineChoice
from foveate.inference import api
from foveate.server.jobs.protocol import WorkerConfig
from foveate.server.options import Options


def names(annotation):
    """Return the names that an annotation allows; None, for no choice, is left out."""
    values = [typing.get_args(part) or (part,) for part in typing.get_args(annotation)]
    return {name for part in values for name in part if isinstance(name, str)}


@pytest.mark.parametrize("owner", [DeviceOptions, EngineChoice, WorkerConfig, Options, api.load])
@pytest.mark.parametrize(
    ("name", "expected"), [("engine", choices.EngineName), ("precision", choices.Precision)]
)
def test_engines_and_precisions_are_the_same_everywhere(owner, name, expected):
    hints = typing.get_type_hints(owner if inspect.isclass(owner) else inspect.unwrap(owner))

    assert names(hints[name]) == set(typing.get_args(expected))


def test_commands_without_a_gpu_offer_what_the_processor_has():
    hints = typing.get_type_hints(EngineOptions)

    assert names(hints["engine"]) == set(typing.get_args(choices.EngineName)) - {"torch"}
    assert names(hints["precision"]) == set(typing.get_args(choices.Precision)) - {"float16"}
