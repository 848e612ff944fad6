"""Corrections: what a person says holds at every threshold, can be undone, and survives whatever happens."""

import itertools
import math
import threading

import cv2
import numpy as np
import pytest
import tiny_server
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_server import done, grey, png, waited

from foveate.analysis import component_tree, regions
from foveate.server.errors import ServiceError
from foveate.server.http.routes import findings
from foveate.server.review import current_counts, layers, region_list, strokes
from foveate.server.review.layers import ERASED, PAINTED
from foveate.server.storage.cache import MapCache
from foveate.server.storage.counts import current_counts_of, finish, level_counts_of

shape = (30, 40)
places = st.tuples(st.floats(-5, 45), st.floats(-5, 35))


@settings(max_examples=25)
@given(st.lists(places, min_size=1, max_size=5), st.floats(1, 12))
def test_a_stroke_covers_the_pixels_whose_centres_are_near_and_those_that_hold_a_point(points, diameter):
    covered = strokes.rasterise(points, diameter, shape)

    wanted = np.zeros(shape, bool)
    pairs = list(itertools.pairwise(points)) or [(points[0], points[0])]
    for row in range(shape[0]):
        for column in range(shape[1]):
            centre = np.array([column + 0.5, row + 0.5])
            wanted[row, column] = any(_away(centre, *pair) <= diameter / 2 + 1e-9 for pair in pairs)
    for x, y in points:
        if 0 <= math.floor(y) < shape[0] and 0 <= math.floor(x) < shape[1]:
            wanted[math.floor(y), math.floor(x)] = True
    painted = np.zeros(shape, bool)
    if covered is not None:
        painted[covered.box.slices] = covered.pixels
    assert np.count_nonzero(painted != wanted) <= 2  # rounding, on the very rim
    assert (covered is None) == (not painted.any())


def _away(place, one, other):
    along = np.subtract(other, one)
    length = along @ along
    share = 0 if length == 0 else np.clip((place - one) @ along / length, 0, 1)
    return np.hypot(*(place - one - share * along))


@settings(max_examples=50)
@given(places, places)
def test_a_thin_stroke_has_no_gap(start, end):
    covered = strokes.rasterise([start, end], 1.0, (30, 40))
    if covered is None:
        return
    count, _ = cv2.connectedComponents(covered.pixels.astype(np.uint8), connectivity=8)

    assert count == 2


def test_memory_forgets_the_oldest_and_keeps_the_latest_however_large():
    memory = MapCache(1000)
    made = []

    def make(name, size):
        made.append(name)
        return np.zeros(size, np.uint8)

    for name in ("a", "b", "a", "c", "a", "b"):
        memory.get((name,), lambda name=name: make(name, 400))
    assert made == ["a", "b", "c", "b"]

    assert memory.get(("d",), lambda: make("d", 5000)).size == 5000
    memory.get(("d",), lambda: make("d", 1))
    assert made[-1] == "d"
    assert made.count("d") == 1
    memory.forget("d")
    assert memory.get(("d",), lambda: make("d", 7)).size == 7


def test_memory_does_not_keep_what_is_forgotten_while_it_is_made():
    memory = MapCache(1000)

    def outdated():
        memory.forget("a")  # as another thread does when a correction or a result is replaced
        return np.zeros(1, np.uint8)

    memory.get(("a", "layer"), outdated)

    assert memory.get(("a", "layer"), lambda: np.zeros(2, np.uint8)).size == 2
    assert memory.get(("a", "layer"), lambda: np.zeros(3, np.uint8)).size == 2


def test_maps_read_while_a_photograph_is_analysed_again_are_not_taken_for_the_new_ones(client):
    identifier = done(client)["id"]
    before = client.service.record(identifier)
    client.predictor.hold.clear()
    client.post(f"/api/photographs/{identifier}/again", json={"field": "128,128,70"})
    old = client.service.corrections.model(before, "EX").copy()  # as by a download that has begun before
    client.predictor.hold.set()
    waited(client, identifier)

    new = client.service.corrections.model(client.service.record(identifier), "EX")

    stored = client.service.data_dir.photograph(identifier).map_file(before.key, "EX")
    np.testing.assert_array_equal(new, grey(stored.read_bytes()))
    assert (new != old).any()


@pytest.fixture
def one(client):
    """The address of a photograph that nobody has corrected."""
    return f"/api/photographs/{done(client)['id']}"


def level_tile(client, one, layer, lesion="EX"):
    """Return all of a photograph of one tile."""
    answer = client.get(f"{one}/{layer}/{lesion}/0/0_0.png")
    return grey(answer.content) if answer.status_code == 200 else np.zeros((256, 256), np.uint8)


def draw(client, one, tool="brush", points=((50.5, 60.5), (80.5, 60.5)), diameter=5, *, lesion="EX", **more):
    body = {"lesion": lesion, "tool": tool, "diameter": diameter, "points": points, "author": "AB", **more}
    return client.post(f"{one}/corrections/strokes", json=body)


def judge(client, one, region, verdict, **more):
    inside = region["inside"]
    body = {"lesion": region["lesion"], "level": region["level"], "verdict": verdict, **inside, **more}
    return client.post(f"{one}/corrections/verdicts", json=body)


def largest(client, one, lesion="EX"):
    asked = {"lesion": lesion, "sort": "area", "order": "desc", "limit": 1}
    return client.get(f"{one}/regions", params=asked).json()["regions"][0]


def test_what_is_painted_and_erased_holds_at_every_threshold(client, one):
    model_map = level_tile(client, one, "maps")
    region = largest(client, one)
    x, y = region["centroid"]["x"], region["centroid"]["y"]

    painted = draw(client, one).json()
    draw(client, one, "eraser", [(x, y)], 9)

    corrected = level_tile(client, one, "corrected")
    attribution = level_tile(client, one, "edits")
    assert (painted["changed"]["lesion"], painted["changed"]["x"], painted["changed"]["y"]) == ("EX", 48, 58)
    assert (corrected[attribution == PAINTED] == 255).all()
    assert (corrected[attribution == ERASED] == 0).all()
    np.testing.assert_array_equal(corrected[attribution == 0], model_map[attribution == 0])
    np.testing.assert_array_equal(level_tile(client, one, "maps"), model_map)
    stacked = grey(client.get(f"{one}/stack/corrected/0/0_0.png").content)
    np.testing.assert_array_equal(stacked[2:258, 2:258], corrected)


def test_changed_pixels_are_those_in_which_both_masks_differ_at_every_threshold(client, one):
    region = largest(client, one)
    x, y = region["centroid"]["x"], region["centroid"]["y"]
    draw(client, one, "eraser", [(x, y), (128, 128)], 31)  # most of it over pixels that are no lesion
    draw(client, one, "brush", [(x, y), (x + 40, y)], 3)  # over some that the model has found already
    draw(client, one, "restore", [(128, 128)], 9)

    state = draw(client, one, "eraser", [(40, 200)], 5).json()["lesions"]["EX"]

    model, corrected = level_tile(client, one, "maps"), level_tile(client, one, "corrected")
    told = client.get(f"{one}/counts").json()["lesions"]["EX"]
    for level in range(1, 256):
        ours, theirs = corrected >= level, model >= level
        assert told["added_px"][level] == np.count_nonzero(ours & ~theirs), level
        assert told["erased_px"][level] == np.count_nonzero(theirs & ~ours), level
    level = state["level"]
    assert (state["added_px"], state["erased_px"]) == (told["added_px"][level], told["erased_px"][level])
    attribution = level_tile(client, one, "edits")
    assert 0 < state["erased_px"] < np.count_nonzero(attribution == ERASED)
    assert 0 < state["added_px"] < np.count_nonzero(attribution == PAINTED)
    for layer in ("model", "corrected"):
        lesions = client.get(f"{one}/counts", params={"layer": layer}).json()["lesions"]
        assert sum(lesions["MA"]["added_px"] + lesions["MA"]["erased_px"]) == 0


def test_a_whole_mask_replaces_the_verdicts_on_its_lesion(client, one):
    judge(client, one, largest(client, one), "rejected")
    judge(client, one, largest(client, one, "MA"), "rejected")
    white = tiny_server.png(np.full((256, 256), 255, np.uint8))
    headers = {"Content-Type": "image/png"}

    replaced = client.put(f"{one}/corrections/masks/EX", content=white, headers=headers).json()
    undone = client.post(f"{one}/corrections/undo", json={}).json()

    assert [verdict["lesion"] for verdict in replaced["verdicts"]] == ["MA"]
    assert [verdict["lesion"] for verdict in undone["verdicts"]] == ["EX", "MA"]


def test_counts_and_lists_include_corrections(client, one):
    before = client.get(one).json()["result"]["lesions"]["EX"]

    told = draw(client, one).json()["lesions"]["EX"]

    corrected = level_tile(client, one, "corrected")
    found = regions.find(corrected, 128, "EX", 4, None)
    after = client.get(one).json()["result"]["lesions"]["EX"]
    counts = client.get(f"{one}/counts").json()["lesions"]["EX"]
    wanted = component_tree.count_regions(corrected, 4)
    assert (told["count"], told["area_px"]) == (len(found), sum(region.area_px for region in found))
    assert (after["count"], after["area_px"], after["mask_px"]) == (
        told["count"],
        told["area_px"],
        told["mask_px"],
    )
    assert after["area_px"] > before["area_px"]
    assert counts["regions"] == wanted.regions.tolist()
    assert counts["mask_px"] == wanted.mask_px.tolist()
    listed = client.get(f"{one}/regions", params={"lesion": "EX"}).json()
    assert listed["total"] == len(found)
    assert listed["revision"] == 1
    untouched = client.get(f"{one}/counts", params={"layer": "model"}).json()["lesions"]["EX"]
    assert untouched["area_px"][128] == before["area_px"]


@pytest.mark.parametrize("small", [0, current_counts.SMALL])
def test_counts_stay_right_however_regions_join_and_part(client, one, small, monkeypatch):
    monkeypatch.setattr(current_counts, "SMALL", small)
    rng = np.random.default_rng(5)
    for step in range(12):
        tool = ("brush", "eraser", "restore")[step % 3]
        points = rng.uniform(20, 236, (2, 2)).tolist()
        told = draw(client, one, tool, points, float(rng.uniform(1, 30)), lesion="MA").json()["lesions"]["MA"]
        if step % 4 == 3:
            told = client.post(f"{one}/corrections/undo", json={}).json()["lesions"]["MA"]

        corrected = level_tile(client, one, "corrected", "MA")
        found = regions.find(corrected, 128, "MA", 4, None)
        wanted = len(found), sum(region.area_px for region in found), np.count_nonzero(corrected >= 128)
        assert (told["count"], told["area_px"], told["mask_px"]) == wanted


def test_undo_and_redo_go_back_and_forth(client, one):
    shown = [level_tile(client, one, "edits")]
    for tool, x in (("brush", 60.5), ("eraser", 70.5), ("restore", 64.5)):
        draw(client, one, tool, [(x, 60.5), (x + 10, 66.5)])
        shown.append(level_tile(client, one, "edits"))
    assert len({tile.tobytes() for tile in shown}) == 4

    for wanted in (2, 1, 0):
        told = client.post(f"{one}/corrections/undo", json={}).json()
        np.testing.assert_array_equal(level_tile(client, one, "edits"), shown[wanted])
    assert (told["can_undo"], told["can_redo"], told["edits"]) == (False, True, 0)
    assert client.post(f"{one}/corrections/undo", json={}).status_code == 409
    assert not client.get(one).json()["result"]["corrected"]

    for wanted in (1, 2, 3):
        told = client.post(f"{one}/corrections/redo", json={}).json()
        np.testing.assert_array_equal(level_tile(client, one, "edits"), shown[wanted])
    assert told["revision"] == 9
    assert client.post(f"{one}/corrections/redo", json={}).status_code == 409


def test_a_new_edit_after_an_undo_forgets_what_was_undone(client, one):
    draw(client, one)
    client.post(f"{one}/corrections/undo", json={})
    told = draw(client, one, "brush", [(100.5, 100.5)]).json()

    assert (told["edits"], told["can_redo"]) == (1, False)


@pytest.mark.parametrize("verdict", ["accepted", "rejected", "questionable"])
def test_a_verdict_holds_for_the_region_and_can_be_taken_back(client, one, verdict):
    region = largest(client, one)
    before = level_tile(client, one, "corrected")

    told = judge(client, one, region, verdict, note="seen twice", author="CD").json()

    (given,) = told["verdicts"]
    assert (given["verdict"], given["note"], given["author"]) == (verdict, "seen twice", "CD")
    after = level_tile(client, one, "corrected")
    if verdict == "questionable":
        np.testing.assert_array_equal(after, before)
        assert told["changed"] is None
    else:
        changed = after != before
        assert np.count_nonzero(changed) == region["area_px"]
        assert (after[changed] == (255 if verdict == "accepted" else 0)).all()
    if verdict != "rejected":
        assert largest(client, one)["verdict"] == verdict

    back = judge(client, one, region, "none").json()

    assert back["verdicts"] == []
    np.testing.assert_array_equal(level_tile(client, one, "corrected"), before)


def test_regions_keep_the_models_probability_whatever_is_accepted_or_painted(client, one):
    model = client.get(f"{one}/regions", params={"lesion": "EX", "layer": "model"}).json()["regions"]
    judge(client, one, largest(client, one), "accepted")
    draw(client, one, points=[(200.5, 60.5), (220.5, 60.5)])
    painted = level_tile(client, one, "maps")[60, 200:221]

    listed = client.get(f"{one}/regions", params={"lesion": "EX"}).json()["regions"]

    probabilities = {(row["box"]["x"], row["box"]["y"]): row["max_probability"] for row in listed}
    for row in model:
        assert probabilities.pop((row["box"]["x"], row["box"]["y"])) == row["max_probability"] < 1
    assert all(painted.min() / 255 <= probability < 0.5 for probability in probabilities.values())
    assert len(probabilities) == 1


def test_a_later_verdict_takes_the_place_of_an_earlier_one(client, one):
    region = largest(client, one)
    before = level_tile(client, one, "corrected")
    judge(client, one, region, "questionable")
    judge(client, one, region, "rejected")

    told = judge(client, one, region, "accepted").json()

    assert [given["verdict"] for given in told["verdicts"]] == ["accepted"]
    changed = level_tile(client, one, "corrected") != before
    assert (level_tile(client, one, "corrected")[changed] == 255).all()
    undone = client.post(f"{one}/corrections/undo", json={}).json()
    assert [given["verdict"] for given in undone["verdicts"]] == ["rejected"]


def test_regions_are_named_by_their_first_pixel(client, one):
    stored = level_tile(client, one, "maps", "MA")
    listed = client.get(f"{one}/regions", params={"lesion": "MA", "level": 128}).json()["regions"]
    found = regions.find(stored, 128, "MA", 4, None)
    _, labels = cv2.connectedComponents((stored >= 128).astype(np.uint8), connectivity=8)

    assert len(listed) == len(found) > 10
    for told, region in zip(listed, found, strict=True):
        x, y = told["inside"]["x"], told["inside"]["y"]
        mine = labels == labels[y, x]
        assert (told["id"], told["area_px"]) == (region.id, region.area_px) == (region.id, mine.sum())
        assert np.argwhere(mine)[0].tolist() == [y, x]
        asked = {"lesion": "MA", "level": 128, "x": x, "y": y}
        assert client.get(f"{one}/region", params=asked).json()["area_px"] == region.area_px
    outside = {"lesion": "MA", "level": 128, "x": 0, "y": 0}
    answer = client.get(f"{one}/region", params=outside)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == (
        "no such region at that pixel; the threshold may have been raised, or the region erased, meanwhile"
    )


def test_a_whole_mask_is_taken_for_what_is_lesion(client, one):
    mask = np.zeros((256, 256), np.uint8)
    mask[100:120, 90:130] = 255
    sent = {"content": png(mask), "headers": {"Content-Type": "image/png"}}

    told = client.put(f"{one}/corrections/masks/EX", params={"author": "EF"}, **sent).json()

    np.testing.assert_array_equal(level_tile(client, one, "corrected"), mask)
    assert (told["lesions"]["EX"]["count"], told["lesions"]["EX"]["area_px"]) == (1, 800)
    client.post(f"{one}/corrections/undo", json={})
    np.testing.assert_array_equal(level_tile(client, one, "corrected"), level_tile(client, one, "maps"))
    wrong = client.put(f"{one}/corrections/masks/EX", content=png(mask[:-1]), headers=sent["headers"])
    assert wrong.status_code == 422
    assert "256 x 255 px" in wrong.json()["error"]["message"]
    broken = client.put(f"{one}/corrections/masks/EX", content=b"\x89PNG", headers=sent["headers"])
    assert (broken.status_code, broken.json()["error"]["code"]) == (422, "unreadable")


def test_a_stale_revision_is_refused(client, one):
    assert draw(client, one, revision=0).json()["revision"] == 1

    refused = draw(client, one, revision=0)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "stale")
    assert client.get(f"{one}/corrections").json()["edits"] == 1
    assert draw(client, one, revision=1).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"lesion": "XX"},
        {"tool": "knife"},
        {"diameter": 0},
        {"diameter": 1e9},
        {"points": []},
        {"points": [[1, 2]] * 10_001},
        {"points": [[1, "x"]]},
        {"author": "x" * 65},
        {"more": 1},
    ],
)
def test_strokes_that_make_no_sense_are_refused(client, one, wrong):
    assert draw(client, one, **wrong).status_code == 422
    assert client.get(f"{one}/corrections").json()["revision"] == 0


def test_forgetting_gives_the_models_result_back(client, one):
    before = client.get(one).json()["result"]["lesions"]
    draw(client, one)
    judge(client, one, largest(client, one, "MA"), "rejected")

    told = client.delete(f"{one}/corrections").json()

    assert (told["edits"], told["verdicts"], told["revision"]) == (0, [], 3)
    assert client.get(one).json()["result"]["lesions"] == before
    np.testing.assert_array_equal(level_tile(client, one, "corrected"), level_tile(client, one, "maps"))


def test_corrections_are_there_after_a_restart(model, tmp_path):
    with tiny_server.running(tmp_path / "data", model) as client:
        one = f"/api/photographs/{done(client)['id']}"
        draw(client, one)
        judge(client, one, largest(client, one, "MA"), "rejected")
        draw(client, one, "brush", [(20.5, 20.5)])
        client.post(f"{one}/corrections/undo", json={})
        state, shown = client.get(f"{one}/corrections").json(), level_tile(client, one, "corrected")
        result = client.get(one).json()

    with tiny_server.running(tmp_path / "data", model) as client:
        assert client.get(f"{one}/corrections").json() == state
        np.testing.assert_array_equal(level_tile(client, one, "corrected"), shown)
        assert client.get(one).json() == result
        assert client.post(f"{one}/corrections/redo", json={}).json()["edits"] == 3


def test_an_edit_that_cannot_be_kept_is_not_shown(client, one, monkeypatch):
    shown = level_tile(client, one, "corrected")
    draw(client, one)
    drawn = level_tile(client, one, "corrected")

    def broken(*arguments):
        raise OSError("the disk is gone")

    monkeypatch.setattr("foveate.server.storage.journal.put_edit", broken)
    assert draw(client, one, "brush", [(200.5, 100.5)], 30).status_code == 500
    monkeypatch.undo()

    np.testing.assert_array_equal(level_tile(client, one, "corrected"), drawn)
    client.post(f"{one}/corrections/undo", json={})
    np.testing.assert_array_equal(level_tile(client, one, "corrected"), shown)


def test_what_is_read_while_an_edit_fails_to_be_stored_has_nothing_of_it(client, one, monkeypatch):
    """Counts and lists are cached by revision, so what is read of an edit that fails would stay."""
    identifier = one.rpartition("/")[2]
    draw(client, one)
    counts = client.get(f"{one}/counts").json()
    client.service.memory.forget(identifier)
    meanwhile = []

    def broken(*arguments):
        meanwhile.append(findings.counts(client.service, identifier).model_dump(mode="json"))
        meanwhile.append(client.service.measures.regions(client.service.record(identifier), "EX"))
        raise OSError("the disk is gone")

    monkeypatch.setattr("foveate.server.storage.journal.put_edit", broken)
    assert draw(client, one, "brush", [(200.5, 100.5)], 30).status_code == 500
    monkeypatch.undo()

    regions_at = counts["lesions"]["EX"]["regions"]
    assert meanwhile[0] == client.get(f"{one}/counts").json() == counts
    assert len(meanwhile[1]) == client.get(f"{one}/regions", params={"lesion": "EX"}).json()["total"]
    assert len(meanwhile[1]) == regions_at[128]


def test_nobody_reads_a_new_revision_before_its_layers(client, one, monkeypatch):
    identifier = one.rpartition("/")[2]
    put, seen = client.service.memory.put, []

    def slow(key, layer):
        reader = threading.Thread(
            target=lambda: seen.append(findings.counts(client.service, identifier).revision)
        )
        reader.start()
        reader.join(0.3)
        seen.append("stored")
        put(key, layer)

    monkeypatch.setattr(client.service.memory, "put", slow)
    draw(client, one)

    assert seen[0] == "stored"


def test_thresholds_move_beneath_corrections(client, one):
    draw(client, one)
    corrected = level_tile(client, one, "corrected")

    told = client.patch(one, json={"levels": {"EX": 40}}).json()["result"]["lesions"]["EX"]

    found = regions.find(corrected, 40, "EX", 4, None)
    assert (told["count"], told["area_px"]) == (len(found), sum(region.area_px for region in found))


def test_another_graders_masks_are_compared_at_every_level(client, one):
    mask = np.zeros((256, 256), np.uint8)
    mask[60:160, 60:160] = 7
    headers = {"Content-Type": "image/png"}
    told = client.put(f"{one}/references/grader-2/EX", content=png(mask), headers=headers).json()
    assert told == {"references": [{"name": "grader-2", "lesions": {"EX": {"mask_px": 10000, "regions": 1}}}]}

    agreement = client.get(f"{one}/references/grader-2/agreement").json()["lesions"]["EX"]

    stored, drawn = level_tile(client, one, "maps"), mask > 0
    for level in (1, 100, 128, 255):
        lit = stored >= level
        assert agreement["true_px"][level] == (lit & drawn).sum()
        assert agreement["false_px"][level] == (lit & ~drawn).sum()
        assert agreement["missed_px"][level] == (~lit & drawn).sum()
    tile = grey(client.get(f"{one}/references/grader-2/EX/0/0_0.png").content)
    np.testing.assert_array_equal(tile > 0, drawn)
    stacked = grey(client.get(f"{one}/stack/reference-grader-2/0/0_0.png").content)
    np.testing.assert_array_equal(stacked[2:258, 2:258] > 0, drawn)
    assert not stacked[516:].any()
    assert client.delete(f"{one}/references/grader-2").status_code == 204
    assert client.get(f"{one}/references").json() == {"references": []}
    assert client.get(f"{one}/references/grader-2/agreement").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("references", 200),
        ("references/AB/agreement", 404),
        ("references/AB/EX/0/0_0.png", 404),
        ("stack/reference-AB/0/0_0.png", 404),
    ],
)
def test_masks_of_a_grader_that_are_deleted_while_they_are_read_are_gone(
    client, one, monkeypatch, path, status
):
    record = client.service.database.get(one.rpartition("/")[2])
    for name in ("AB", "CD"):
        client.post(f"{one}/references/{name}", json={"from": "corrections"})
    client.service.memory.forget(record.id, "reference")
    get = MapCache.get

    def delete_and_get(self, key, make):
        if key[:3] == (record.id, "reference", "AB"):
            client.service.references.delete(record, "AB")
        return get(self, key, make)

    monkeypatch.setattr(MapCache, "get", delete_and_get)
    answer = client.get(f"{one}/{path}")

    assert answer.status_code == status, answer.text
    if status == 200:
        assert [reference["name"] for reference in answer.json()["references"]] == ["CD"]
    else:
        assert answer.json()["error"]["message"].startswith("no such reference mask")


def test_masks_of_lesions_that_another_models_result_lacks_are_not_compared(client, one):
    client.post(f"{one}/references/AB", json={"from": "corrections"})
    database, identifier = client.service.database, one.rpartition("/")[2]
    record, counts = database.get(identifier), current_counts_of(database, identifier)
    facts = record.predicted.model_copy(update={"lesions": {"EX": record.lesions["EX"]}})
    levels = {"EX": level_counts_of(database, identifier, "EX")}

    finish(database, identifier, facts, levels, {"EX": counts["EX"]}, now=record.finished)

    assert set(client.get(f"{one}/references/AB/agreement").json()["lesions"]) == {"EX"}
    assert client.get(one).json()["result"]["burden"]["count"] == counts["EX"].count


def test_corrected_masks_can_be_kept_to_compare_with(client, one):
    draw(client, one)
    corrected = level_tile(client, one, "corrected")

    assert client.post(f"{one}/references/AB", json={"from": "corrections"}).status_code == 201
    client.delete(f"{one}/corrections")

    tile = grey(client.get(f"{one}/references/AB/EX/0/0_0.png").content)
    np.testing.assert_array_equal(tile > 0, corrected >= 128)


@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_patches_come_back_as_they_were_packed(seed):
    rng = np.random.default_rng(seed)
    covered = strokes.rasterise([(3.0, 4.0), (20.0, 9.0)], 6.0, shape)
    pixels = rng.integers(0, 256, covered.box.shape, np.uint8)

    np.testing.assert_array_equal(layers.unpack(layers.pack(pixels), covered.box).pixels, pixels)


def test_fovea_and_disc_in_one_place_are_refused(client, one):
    wrong = {"grid": {"fovea": {"x": 100, "y": 100}, "disc": {"x": 101, "y": 100}}}

    assert client.patch(one, json=wrong).status_code == 422
    assert client.get(f"{one}/grid").status_code == 409


def test_the_grid_parts_the_field_and_adds_up(client, one):
    placed = {"fovea": {"x": 128, "y": 128}, "disc": {"x": 178, "y": 120}}
    client.patch(one, json={"grid": placed})

    told = client.get(f"{one}/grid").json()

    result = client.get(one).json()["result"]
    assert (told["eye"], told["scale_from"]) == ("right", "fovea_to_disc")
    assert told["radii_px"][1] == pytest.approx(1.5 * math.dist((128, 128), (178, 120)) / 4.5, abs=0.1)
    assert sum(field["pixels"] for field in told["fields"].values()) == result["field"]["area_px"]
    for code, lesion in result["lesions"].items():
        counted = [field["lesions"][code] for field in told["fields"].values()]
        assert sum(one["count"] for one in counted) == lesion["count"]
        assert sum(one["area_px"] for one in counted) == lesion["area_px"]
    client.patch(one, json={"spacing_mm": 0.02})
    assert client.get(f"{one}/grid").json()["scale_from"] == "spacing"
    assert client.patch(one, json={"grid": None}).json()["grid"] is None


def test_a_place_lies_in_the_field_that_its_direction_says():
    from foveate.server.review.etdrs import FIELDS, Grid

    right = Grid(fovea=(100.0, 100.0), disc=(100.0, 145.0), spacing=None)  # 0.1 mm a pixel
    left = Grid(fovea=(100.0, 100.0), disc=(100.0, 55.0), spacing=None)

    def named(grid, row, column):
        return FIELDS[int(grid.fields(np.array([row]), np.array([column]))[0])]

    assert named(right, 98.0, 100.0) == "centre"
    assert named(right, 90.0, 100.0) == "inner_superior"
    assert named(right, 100.0, 110.0) == "inner_nasal"
    assert named(left, 100.0, 110.0) == "inner_temporal"
    assert named(left, 125.0, 100.0) == "outer_inferior"
    assert named(left, 100.0, 80.0) == "outer_nasal"
    assert named(left, 100.0, 140.0) == "outside"
    with pytest.raises(ServiceError, match="less than 10 px apart"):
        Grid(fovea=(1.0, 1.0), disc=(2.0, 2.0), spacing=None)


def test_a_region_that_is_not_in_the_map_is_an_error_and_no_endless_search():
    stored = np.zeros((8, 8), np.uint8)
    stored[2:4, 2:4] = 200
    listed = regions.find(stored, 128, "EX", 1, None)

    with pytest.raises(ValueError, match="not in the map"):
        list(region_list._firsts(np.zeros_like(stored), listed))
