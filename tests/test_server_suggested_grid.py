"""The server says where the program places the ETDRS grid, and takes it as a person's once it is sent."""

import numpy as np
import pytest
import tiny_eye
import tiny_server
from tiny_server import done

from foveate.server.review import etdrs
from foveate.server.storage.facts import PhotographFacts


@pytest.fixture
def client(model, tmp_path):
    with tiny_server.running(tmp_path / "data", model) as client:
        yield client


def test_a_grid_is_suggested_at_fovea_and_disc_and_can_be_accepted(client):
    told = done(client, tiny_server.png(tiny_eye.eye()))
    grid = told["result"]["suggested_grid"]

    for part, (row, column) in (("disc", tiny_eye.DISC), ("fovea", tiny_eye.FOVEA)):
        assert np.hypot(grid[part]["y"] - row, grid[part]["x"] - column) < 0.15 * tiny_eye.DIAMETER
    assert told["grid"] is None  # no person has placed one
    at = f"/api/photographs/{told['id']}"
    assert client.patch(at, json={"grid": grid}).json()["grid"] == grid
    assert client.get(f"{at}/grid").json()["eye"] == "right"


def test_none_is_suggested_where_there_is_no_disc(client):
    told = done(client, tiny_server.png(tiny_eye.eye(disc=False)))

    assert told["result"]["suggested_grid"] is None


def test_results_of_earlier_versions_have_none(client):
    told = done(client, tiny_server.png(tiny_eye.eye()))
    facts = client.service.done(told["id"]).predicted.model_dump()
    assert facts.pop("suggested_grid")

    assert PhotographFacts.model_validate(facts).suggested_grid is None


def test_places_are_x_and_y_to_a_tenth_of_a_pixel():
    assert etdrs._point((12.34, 56.78)).model_dump() == {"x": 56.8, "y": 12.3}
