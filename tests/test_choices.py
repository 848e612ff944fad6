"""What may be chosen is spelt alike wherever it is chosen, and is what there is."""

import ast
import inspect
import re
import typing
from pathlib import Path

import pytest

from foveate import choices, cli
from foveate.cli import commands, predict, serve
from foveate.cli.options import EngineOptions
from foveate.cli.options.predict import ClusterOptions, DeviceOptions
from foveate.cli.options.serve import LimitOptions, ServeOptions
from foveate.cluster.job import MAX_ATTEMPTS
from foveate.datasets import layouts
from foveate.engines.choice import EngineChoice
from foveate.inference import api
from foveate.server.jobs.protocol import WorkerConfig
from foveate.server.options import Limits, Options
from foveate.training import recipe


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


def test_the_command_line_spells_out_no_choice_itself():
    """Names that a user chooses from are defined once, in `foveate.choices`."""
    own = [
        f"{path.name}: {ast.unparse(node)}"
        for path in Path(cli.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal"
        if isinstance(node.slice, ast.Tuple)
    ]

    assert own == []


def test_the_help_of_train_names_every_stage_in_its_order():
    stages = [*recipe.STAGES, recipe.REFINE]
    words = re.findall(r"\w+", inspect.getdoc(commands.train))

    assert [word for word in words if word in stages] == stages == list(typing.get_args(choices.StageChoice))


def test_the_layouts_of_the_help_are_those_that_there_are():
    assert set(typing.get_args(choices.LayoutName)) == set(layouts.LAYOUTS)


def test_the_defaults_of_serve_are_those_of_the_server(tmp_path):
    options, server = ServeOptions(), Options(data=tmp_path)

    assert serve._make_limits(LimitOptions()) == Limits()
    assert (options.host, options.port, options.workers) == (server.host, server.port, server.workers)


@pytest.mark.parametrize("given", [False, True])
def test_the_server_gets_the_options_that_are_switched_on(tmp_path, monkeypatch, given):
    started = []
    monkeypatch.setattr(serve.serving, "serve", lambda options, say: started.append(options))
    serve.serve(ServeOptions(data=tmp_path, forget_missing=given, double_grading=given))

    assert [(options.forget_missing, options.double_grading) for options in started] == [(given, given)]


def test_the_help_states_the_defaults_that_are_used():
    source = " ".join(inspect.getsource(inspect.getmodule(ClusterOptions)).split())

    assert f"recorded as failed; {MAX_ATTEMPTS} by default" in source
    assert f"by default, at most {predict.MAX_WORKERS}." in source
