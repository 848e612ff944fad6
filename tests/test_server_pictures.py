"""Tiles: what is served at every zoom shows the same places as the map that the command line writes."""

import io
import itertools

import cv2
import numpy as np
import pytest
import tiny_package
import tiny_server
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_server import done, grey

from foveate.server.storage import tiles
from foveate.server.storage.tiles import MARGIN, SIZE, Packs, Pyramid, levels
from foveate.types import Box

shapes = st.tuples(st.integers(1, 1100), st.integers(1, 1100))


def maximum(stored, times):
    """Coarsen a map the slow way: each pixel the maximum of a block."""
    side = 2**times
    height, width = stored.shape
    padded = np.pad(stored, [(0, -height % side), (0, -width % side)])
    return padded.reshape(len(padded) // side, side, -1, side).max(axis=(1, 3))


def assembled(read, size):
    """Put a level together from its tiles."""
    whole = np.zeros((size.height, size.width), np.uint8)
    for row in range(size.rows):
        for column in range(size.columns):
            tile = read(row, column)
            if tile:
                whole[size.box(row, column).slices] = grey(tile)
    return whole


@given(shapes)
def test_the_coarsest_level_is_one_tile_and_each_next_one_twice_as_large(shape):
    sizes = levels(shape)

    assert (sizes[-1].height, sizes[-1].width) == shape
    assert (sizes[0].rows, sizes[0].columns) == (1, 1)
    for coarse, fine in itertools.pairwise(sizes):
        assert coarse.height == -(-fine.height // 2)
        assert coarse.width == -(-fine.width // 2)
    assert len(sizes) == 1 or max(sizes[1].rows, sizes[1].columns) > 1


@settings(max_examples=10)
@given(shapes, st.integers(0, 2**32 - 1))
def test_coarser_maps_are_maxima_so_that_thresholding_them_shows_where_anything_is(shape, seed):
    rng = np.random.default_rng(seed)
    stored = (rng.integers(0, 256, shape) * (rng.random(shape) < 0.01)).astype(np.uint8)
    made = Pyramid(stored)

    for number, size in enumerate(made.levels):
        shown = assembled(lambda row, column, n=number: made.tile(n, row, column), size)
        np.testing.assert_array_equal(shown, maximum(stored, len(made.levels) - 1 - number))


@settings(max_examples=10)
@given(shapes, st.integers(0, 2**32 - 1), st.data())
def test_a_map_changed_in_a_box_is_the_map_made_anew(shape, seed, data):
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 256, shape, np.uint8)
    top, left = (data.draw(st.integers(0, side - 1)) for side in shape)
    bottom, right = (
        data.draw(st.integers(first + 1, side)) for first, side in zip((top, left), shape, strict=True)
    )
    box = Box(top=top, left=left, bottom=bottom, right=right)
    pixels = rng.integers(0, 256, box.shape, np.uint8)
    made = Pyramid(stored.copy())

    made.replace(box, pixels)

    stored[box.slices] = pixels
    anew = Pyramid(stored)
    for number, size in enumerate(anew.levels):
        for row in range(size.rows):
            for column in range(size.columns):
                assert made.tile(number, row, column) == anew.tile(number, row, column)


def test_photographs_coarsen_by_their_mean_in_register():
    pixels = np.zeros((5, 3, 3), np.uint8)
    pixels[:2, :2] = 100
    pixels[4, 2] = 200

    halved = tiles.mean(pixels)

    assert halved.shape == (3, 2, 3)
    assert (halved[0, 0] == 100).all()
    assert (halved[2, 1] == 200).all()
    assert not halved[1].any()


def test_a_pack_gives_back_every_tile_and_none_beside(tmp_path):
    rng = np.random.default_rng(0)
    stored = np.zeros((700, 1100), np.uint8)
    stored[600:, 900:] = rng.integers(1, 256, (100, 200))
    made = [Pyramid(stored), Pyramid(stored[::-1].copy())]
    tiles.pack_stack(tmp_path / "maps.tiles", made)
    packs = Packs()

    for number, size in enumerate(made[0].levels):
        for row in range(size.rows):
            for column in range(size.columns):
                tile = packs.tile(tmp_path / "maps.tiles", number, row, column)
                assert tile == tiles.stack(made, number, row, column)
        assert packs.tile(tmp_path / "maps.tiles", number, size.rows, 0) is None
        assert packs.tile(tmp_path / "maps.tiles", number, 0, size.columns) is None
    assert packs.tile(tmp_path / "maps.tiles", 9, 0, 0) is None


def test_a_stack_holds_each_tile_with_the_pixels_around_it():
    stored = np.random.default_rng(0).integers(1, 256, (SIZE + 40, 2 * SIZE + 30), np.uint8)
    other = 255 - stored
    around = np.pad(stored, MARGIN)
    last = len(levels(stored.shape)) - 1
    side = SIZE + 2 * MARGIN

    for row, column in ((0, 0), (0, 1), (1, 2)):
        picture = grey(tiles.stack([Pyramid(stored), None, Pyramid(other)], last, row, column))

        assert picture.shape == (3 * side, side)
        wanted = around[row * SIZE :, column * SIZE :][:side, :side]
        np.testing.assert_array_equal(picture[:side][: wanted.shape[0], : wanted.shape[1]], wanted)
        assert not picture[wanted.shape[0] : side].any()
        assert not picture[:side, wanted.shape[1] :].any()
        assert not picture[side : 2 * side].any()


@pytest.fixture(scope="module")
def large(client):
    """A photograph of several tiles, done."""
    return done(client, tiny_server.picture(diameter=700))


def test_tiles_put_together_are_the_map_that_the_command_line_writes(client, large):
    one = f"/api/photographs/{large['id']}"
    record = client.service.record(large["id"])
    written = client.service.data_dir.photograph(large["id"]).map_file(record.key, "EX").read_bytes()
    finest = len(large["tiles"]["levels"]) - 1
    size = levels((large["height"], large["width"]))[finest]

    def read(row, column):
        answer = client.get(f"{one}/maps/EX/{finest}/{column}_{row}.png")
        assert answer.status_code in {200, 204}
        return answer.content

    assert size.rows > 1
    np.testing.assert_array_equal(assembled(read, size), grey(written))


def test_the_photograph_is_shown_as_it_is(client, large):
    finest = len(large["tiles"]["levels"]) - 1
    answer = client.get(f"/api/photographs/{large['id']}/tiles/{finest}/0_0.jpg")
    shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    pixels = tiny_package.fundus(diameter=700)[:SIZE, :SIZE]

    assert answer.headers["content-type"] == "image/jpeg"
    assert np.abs(shown.astype(int) - pixels).mean() < 3


def test_all_lesions_of_a_tile_come_in_one_picture(client, large):
    one = f"/api/photographs/{large['id']}"
    finest = len(large["tiles"]["levels"]) - 1

    for layer in ("model", "corrected"):
        stacked = grey(client.get(f"{one}/stack/{layer}/{finest}/1_0.png").content)
        for number, lesion in enumerate(large["result"]["lesions"]):
            tile = grey(client.get(f"{one}/maps/{lesion}/{finest}/1_0.png").content)
            top = number * (SIZE + 2 * MARGIN) + MARGIN
            services = stacked[top:, MARGIN:][: tile.shape[0], : tile.shape[1]]
            np.testing.assert_array_equal(services, tile)


def test_a_thumbnail_has_256_px_on_its_long_side(client, large):
    content = client.get(f"/api/photographs/{large['id']}/thumbnail.jpg").content

    with Image.open(io.BytesIO(content)) as image:
        assert max(image.size) == 256


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("tiles/0/1_0.jpg", 404),
        ("tiles/99/0_0.jpg", 404),
        ("tiles/-1/0_0.jpg", 422),
        ("tiles/0/0_x.jpg", 422),
        ("maps/XX/0/0_0.png", 422),
        ("maps/EX/0/5_5.png", 404),
        ("stack/model/0/3_0.png", 404),
        ("stack/edits/0/3_0.png", 404),
        ("stack/reference-nobody/0/0_0.png", 404),
        ("stack/other/0/0_0.png", 422),
        ("stack/edits/0/0_0.png", 204),
        ("edits/EX/0/0_0.png", 204),
        ("references/nobody/EX/0/0_0.png", 404),
    ],
)
def test_tiles_that_are_not_there_are_4xx_and_empty_ones_have_no_body(client, large, path, status):
    answer = client.get(f"/api/photographs/{large['id']}/{path}")

    assert answer.status_code == status
    assert (answer.content == b"") == (status == 204)
