"""A recipe is numbers with reasons, and they fit together."""

import ast
import inspect
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from foveate import lesions, recipes, views
from foveate.datasets import SET_ASIDE, splits
from foveate.recipes import RECIPES

MODULES = sorted(Path(recipes.__file__).parent.glob("[!_]*.py"))


@pytest.fixture(params=sorted(RECIPES))
def recipe(request):
    return RECIPES[request.param]()


def test_every_recipe_module_is_published():
    assert {name.replace("-", "_") for name in RECIPES} == {path.stem for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_recipe_says_what_it_costs_and_decides_nothing_when_it_runs(path):
    tree = ast.parse(path.read_text())
    said = re.findall(r"^(\w+): ", ast.get_docstring(tree), re.MULTILINE)

    assert said == ["Run", "Data", "Cost", "Expect", "Source"]
    assert f"foveate train {path.stem.replace('_', '-')} " in ast.get_docstring(tree)
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Match)
    ]


def test_a_recipe_is_the_same_each_time_it_is_asked_for(recipe):
    again = RECIPES[recipe.name]()

    assert again.name == recipe.name
    assert again == recipe


def test_the_contract_can_be_kept(recipe):
    contract = recipe.contract

    lesions.of(contract.lesions)
    assert min(contract.std) > 0
    assert 0 <= contract.overlap < contract.window_side <= contract.field_diameter
    assert len(views.plan((int(contract.field_diameter),) * 2, contract.window_side, contract.overlap))


def test_networks_halve_views_and_windows_without_a_rest(recipe):
    network = recipe.network()

    assert recipe.contract.view_side % network.global_net.backbone.stride == 0
    assert recipe.contract.window_side % network.local_net.backbone.stride == 0
    assert network.global_net.head.out_channels == len(recipe.contract.lesions)
    assert network.local_net.head.out_channels == len(recipe.contract.lesions)


def test_the_weights_fit_into_the_box_in_half_precision(recipe):
    weights = sum(weight.numel() for weight in recipe.network().parameters())

    assert 2 * weights < 25_000_000


def test_the_split_holds_some_photographs_back_and_none_of_the_examples(recipe):
    folds = splits.read(recipe.split)
    learned, held_back = splits.part(list(folds), folds, recipe.held_back)

    assert len(learned) > len(held_back) > 0
    assert not SET_ASIDE & set(folds)
    assert json.loads(recipe.split.read_text())["about"]


def test_a_recipe_is_asked_for_without_arguments():
    for make in RECIPES.values():
        assert not inspect.signature(make).parameters
