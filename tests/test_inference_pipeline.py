"""From pixels to probabilities, with a fake engine whose output is known for every pixel."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny_package
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_package import Red
from tiny_package import fake as package

from foveate.analysis import region_evidence
from foveate.errors import FieldError, FoveateError, GeometryError, LesionError, SettingError
from foveate.geometry import canvas, field_of_view, stitching, tiling
from foveate.geometry.stitching import LEVELS, native_map
from foveate.inference.pipeline import WINDOWS_PER_BATCH, coarse_maps, segment
from foveate.inference.settings import Settings, lesion_decisions, selection_rule
from foveate.types import LesionCriterion, Photograph, SelectionRule


class Difference(Red):
    """An engine whose output is the difference of the sampled global features and the window itself."""

    def run_local(self, batch):
        self.batches.append(len(batch))
        sampled = batch.rows[:, None] @ batch.pieces @ batch.columns[:, None].swapaxes(-1, -2)
        difference = np.abs(sampled - batch.windows) * self.contract.std[0] / 255
        return np.repeat(difference.max(axis=1, keepdims=True), len(self.contract.lesions), axis=1).clip(0, 1)


def photograph(pixels):
    return Photograph(pixels=pixels, source="drawn", digest="0" * 64)


def noise(shape, seed=0):
    """Return a photograph of random levels that is lit everywhere."""
    return photograph(np.random.default_rng(seed).integers(20, 256, (*shape, 3), np.uint8))


def run_segment(image, model, engine_class=Red, **chosen):
    """Segment a photograph with a new engine; return the segmentation and the engine."""
    engine = engine_class(model.contract)
    return segment(image, model, engine, Settings(**chosen)), engine


shapes = st.tuples(st.integers(128, 300), st.integers(128, 300))
sides = st.integers(16, 64)


@settings(max_examples=25, deadline=None)
@given(shapes, sides, st.data())
def test_at_scale_one_each_pixel_keeps_its_own_output_whatever_the_windows(shape, side, data):
    overlap = data.draw(st.integers(0, side // 2), label="overlap")
    part = data.draw(st.sampled_from(["field", "whole"]), label="part")
    radius = data.draw(st.floats(64, 200), label="radius")
    centre = tuple(data.draw(st.floats(0.3 * length, 0.7 * length), label="centre") for length in shape)
    image = noise(shape)
    model = package(window_side=side, overlap=overlap, field_diameter=2 * radius)

    result, _ = run_segment(image, model, part=part, field=(*centre, radius))

    inside = field_of_view.mask(result.field, canvas.part_box("whole", shape, result.field))
    expected = np.where(inside, image.pixels[..., 0].astype(np.uint16) * 257, 0)
    for lesion in model.contract.lesions:
        np.testing.assert_array_equal(native_map(result.probabilities, lesion), expected)


@settings(max_examples=15, deadline=None)
@given(shapes, st.sampled_from([1, 4, 16]), st.data())
def test_each_pixel_keeps_its_own_output_in_windows_larger_than_in_training(shape, step, data):
    radius = data.draw(st.floats(64, 200), label="radius")
    centre = tuple(data.draw(st.floats(0.3 * length, 0.7 * length), label="centre") for length in shape)
    image = noise(shape)
    model = package(window_side=64, step=step, field_diameter=2 * radius)

    result, engine = run_segment(image, model, part="whole", field=(*centre, radius))

    inside = field_of_view.mask(result.field, canvas.part_box("whole", shape, result.field))
    expected = np.where(inside, image.pixels[..., 0].astype(np.uint16) * 257, 0)
    np.testing.assert_array_equal(native_map(result.probabilities, "EX"), expected)
    assert not np.array(result.tiling.window) @ np.ones(2) % step
    assert engine.batches == [1] * len(result.tiling.corners)  # all batches have one shape


@pytest.mark.parametrize("step", [None, 16])
def test_larger_windows_read_their_own_place_of_the_view(step):
    rows, columns = np.mgrid[:290, :310]
    ramp = np.stack([rows * 255 / 290, columns * 255 / 310, (rows + columns) * 255 / 600], axis=-1)
    image = photograph(ramp.round().astype(np.uint8))
    model = package(field_diameter=math.hypot(290, 310), view_side=96, step=step)

    result, _ = run_segment(image, model, Difference, field="full")

    assert result.probabilities.maps[0][3:-3, 3:-3].max() / LEVELS * 255 <= 1.01


@settings(max_examples=25, deadline=None)
@given(shapes, sides, st.data())
def test_exactly_the_windows_that_touch_the_field_are_computed(shape, side, data):
    radius = data.draw(st.floats(64, 100), label="radius")
    centre = tuple(data.draw(st.floats(0.2 * length, 0.8 * length), label="centre") for length in shape)
    model = package(window_side=side, overlap=8, field_diameter=2 * radius)
    corners = tiling.regular_grid(shape, side, 8)
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    disc = np.hypot(rows - centre[0], columns - centre[1]) <= radius
    expected = sum(bool(disc[row : row + side, column : column + side].any()) for row, column in corners)

    _, engine = run_segment(noise(shape), model, part="whole", field=(*centre, radius))

    assert sum(engine.batches) == expected
    assert max(engine.batches) <= WINDOWS_PER_BATCH


def test_corner_windows_of_a_whole_photograph_are_left_out():
    image = photograph(tiny_package.fundus(diameter=240, border=100))
    model = package(window_side=32, overlap=0)

    result, engine = run_segment(image, model, part="whole")

    height, width = result.probabilities.frame.shape
    assert sum(engine.batches) < 0.45 * math.ceil(height / 32) * math.ceil(width / 32)
    assert not np.asarray(result.probabilities.maps)[:, :60, :60].any()


@pytest.mark.parametrize("times", [0.5, 0.8, 1.7])
def test_at_another_scale_the_map_is_the_resampled_photographs(times):
    image = photograph(tiny_package.fundus(diameter=240))
    field = field_of_view.find(image.pixels)
    model = package(field_diameter=field.diameter * times, window_side=32)

    result, _ = run_segment(image, model)

    frame = result.probabilities.frame
    assert frame.shape == pytest.approx(np.array(field.box.shape) * times, abs=0.51)
    red = canvas.resample(image.pixels[field.box.slices], frame.shape)[..., 0].astype(np.uint16) * 257
    inside = result.probabilities.maps[0] > 0
    np.testing.assert_array_equal(result.probabilities.maps[0][inside], red[inside])
    share = inside.mean() / field_of_view.mask(field, field.box).mean()
    assert share == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("times", [0.52, 0.63, 0.77, 0.85, 1.3])
def test_at_another_scale_a_field_that_is_cut_off_stays_cut_off_where_it_was(times):
    lit = tiny_package.fundus(diameter=240, border=0)[33:200]  # the camera cut it at top and bottom
    image = photograph(np.pad(lit, ((51, 42), (10, 10), (0, 0))))
    field = field_of_view.find(image.pixels)

    result, _ = run_segment(
        image, package(field_diameter=field.diameter * times, window_side=32), part="whole"
    )

    rows = np.flatnonzero(result.probabilities.maps[0].any(axis=1))
    assert (field.box.top, field.box.bottom) == (51, 218)
    scale = result.probabilities.frame.scale[0]
    assert (rows[0], rows[-1] + 1) == (round(51 * scale), round(218 * scale))


def test_within_the_tolerance_nothing_is_resampled():
    image = photograph(tiny_package.fundus(diameter=240))
    field = field_of_view.find(image.pixels)

    near, _ = run_segment(image, package(field_diameter=field.diameter * 1.049))
    far, _ = run_segment(image, package(field_diameter=field.diameter * 1.051))

    assert near.probabilities.frame.shape == field.box.shape
    assert far.probabilities.frame.shape != field.box.shape


@settings(max_examples=20, deadline=None)
@given(st.integers(180, 300), st.integers(180, 300), st.integers(0, 3), st.booleans())
def test_the_global_features_show_the_same_place_as_the_window(height, width, turns, mirrored):
    """On a linear ramp, a shift of one canvas pixel would show: 255 levels over 300 px."""
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack(
        [rows * 255 / height, columns * 255 / width, (rows + columns) * 255 / (height + width)], axis=-1
    )
    pixels = np.rot90(ramp[::-1] if mirrored else ramp, turns).round().astype(np.uint8)
    diameter = math.hypot(height, width)
    model = package(field_diameter=diameter, window_side=48, view_side=96)

    result, _ = run_segment(photograph(np.ascontiguousarray(pixels)), model, Difference, field="full")

    difference = result.probabilities.maps[0] / LEVELS * 255  # levels
    rim = 3  # canvas px within half a view pixel of the rim, where the view's last centre is repeated
    assert (
        difference[rim:-rim, rim:-rim].max() <= 1.01
    )  # rounding to whole levels in the photograph and in the view


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_photograph_gives_the_turned_map(turns):
    pixels = tiny_package.fundus(diameter=240)[:, 10:]
    model = package(window_side=48)
    upright, _ = run_segment(photograph(pixels), model)

    turned, _ = run_segment(photograph(np.ascontiguousarray(np.rot90(pixels, turns))), model)

    a, b = (native_map(result.probabilities, "EX") for result in (upright, turned))
    differing = (np.rot90(a, turns) != b).mean()
    assert differing < 0.002  # the rim of the fitted disc, at most


def test_black_around_a_photograph_changes_nothing_but_the_position():
    pixels = tiny_package.fundus(diameter=240)
    model = package(window_side=48)
    alone, _ = run_segment(photograph(pixels), model)

    padded, _ = run_segment(photograph(np.pad(pixels, ((40, 7), (0, 90), (0, 0)))), model)

    np.testing.assert_array_equal(padded.probabilities.maps, alone.probabilities.maps)
    box = padded.probabilities.frame.box
    assert (box.top, box.left) == (
        alone.probabilities.frame.box.top + 40,
        alone.probabilities.frame.box.left,
    )


def test_global_net_runs_once_on_all_of_the_canvas():
    image = photograph(tiny_package.fundus())
    model = package()

    _, engine = run_segment(image, model)

    (view,) = engine.views
    assert view.shape == (1, 3, 64, 64)
    red = view[0, 0] * 127.5 + 127.5
    assert red[32, 32] == pytest.approx(image.pixels[128, 128, 0], abs=1)
    assert red[0, 0] < 20  # the corner of the field's box is dark


def test_the_progress_rises_to_one():
    shares = []
    model = package(window_side=32)

    segment(photograph(tiny_package.fundus()), model, Red(model.contract), progress=shares.append)

    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) > 3


def test_a_lesion_has_the_same_map_alone_as_among_all():
    class Levels(Red):
        def run_local(self, batch):
            return (super().run_local(batch) * np.array([1, 0.5])[:, None, None]).astype("float32")

    model = package()
    image = photograph(tiny_package.fundus())
    both, _ = run_segment(image, model, Levels)

    alone, _ = run_segment(image, model, Levels, lesions=("MA",))

    assert alone.probabilities.lesions == ("MA",) == tuple(alone.decisions)
    np.testing.assert_array_equal(alone.probabilities.maps[0], both.probabilities.maps[1])
    assert not np.array_equal(both.probabilities.maps[0], both.probabilities.maps[1])


def test_windows_of_all_lesions_are_stitched_without_a_copy(monkeypatch):
    outputs, windows = [], []

    class Kept(Red):
        def run_local(self, batch):
            outputs.append(super().run_local(batch))
            return outputs[-1]

    def stitch(batches, *arguments, **options):
        windows.extend(batches)
        return original(iter(windows), *arguments, **options)

    original = stitching.stitch
    monkeypatch.setattr(stitching, "stitch", stitch)

    run_segment(noise((200, 200)), package(), Kept, field="full")

    assert len(windows) == len(outputs) > 1
    assert all(window is output for window, output in zip(windows, outputs, strict=True))


def test_regions_with_too_little_evidence_are_below_the_threshold_whatever_the_user_s():
    model = package()
    asked = {code: replace(decision, minimum_evidence=1e6) for code, decision in model.decisions.items()}
    image = photograph(tiny_package.fundus())
    plain, _ = run_segment(image, model)

    quiet, _ = run_segment(image, tiny_package.restated(model, decisions=asked), thresholds={"EX": 0.01})

    for code, before, after in zip(
        plain.decisions, plain.probabilities.maps, quiet.probabilities.maps, strict=True
    ):
        cap = region_evidence.lowest_lesion_level(model.decisions[code].threshold) - 1
        assert before.max() > cap
        np.testing.assert_array_equal(after, np.minimum(before, cap))


def test_decisions_keep_the_models_order_and_take_the_chosen_thresholds():
    model = package()

    decisions = lesion_decisions(model, Settings(lesions=("MA", "EX"), thresholds={"MA": 0.25}))

    assert list(decisions) == ["EX", "MA"]
    assert (decisions["EX"].threshold, decisions["MA"].threshold) == (0.5, 0.25)
    assert decisions["MA"].minimum_area == model.decisions["MA"].minimum_area


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        (Settings(lesions=("SE",)), LesionError, "'SE' is unknown to this model; it knows EX, MA"),
        (Settings(lesions=()), LesionError, "no lesion is selected"),
        (Settings(thresholds={"SE": 0.5}), LesionError, "'SE' is unknown"),
        (
            Settings(lesions=("EX",), thresholds={"MA": 0.5}),
            SettingError,
            "threshold is given for MA, which is not among",
        ),
        (Settings(thresholds={"EX": 0.0}), SettingError, "threshold EX=0;"),
        (Settings(thresholds={"EX": 1.001}), SettingError, r"threshold EX=1\.001;"),
    ],
)
def test_an_invalid_setting_is_refused_before_anything_is_computed(chosen, error, message):
    model = package()
    engine = Red(model.contract)

    with pytest.raises(error, match=message):
        segment(photograph(tiny_package.fundus()), model, engine, chosen)

    assert not engine.views


def test_a_threshold_that_is_no_number_makes_no_settings():
    with pytest.raises(SettingError, match="threshold EX is nan; give a finite number"):
        Settings(thresholds={"EX": math.nan})


def test_a_threshold_of_one_is_allowed():
    assert lesion_decisions(package(), Settings(thresholds={"EX": 1.0}))["EX"].threshold == 1


@pytest.mark.parametrize("level", [0, 255])
def test_a_photograph_without_a_field_is_an_error_and_never_computed(level):
    model = package()
    engine = Red(model.contract)

    with pytest.raises(FoveateError, match="no round field"):
        segment(photograph(np.full((300, 300, 3), level, np.uint8)), model, engine)

    assert not engine.views


def test_a_small_field_in_a_large_photograph_is_not_enlarged_without_bound():
    model = package(field_diameter=4000.0, window_side=256)

    with pytest.raises(
        GeometryError, match="scaling the field of 128 px to the model's 4000 px gives a canvas of"
    ):
        run_segment(noise((500, 500)), model, part="whole", field=(250.0, 250.0, 64.0))


def test_a_part_that_shows_nothing_of_the_field_is_an_error():
    model = package(field_diameter=128.0)
    wide = np.zeros((2816, 3600, 3), np.uint8)

    with pytest.raises(FieldError, match="contains none of the field of view; use --region field"):
        run_segment(photograph(wide), model, part="paper", field=(1400.0, 64.0, 64.0))


def test_a_model_of_pictures_without_a_field_segments_all_of_them():
    grey = photograph(np.full((300, 340, 3), 200, np.uint8))
    result, _ = run_segment(grey, package(field="whole", part="whole", window_side=64))
    assert result.probabilities.frame.box.shape == (300, 340)
    assert result.probabilities.maps[0].all()


def test_the_part_is_the_models_unless_another_is_chosen():
    image = photograph(tiny_package.fundus(diameter=240, border=100))
    boxes = [
        run_segment(image, package(part=own), part=chosen)[0].probabilities.frame.box
        for own, chosen in [("whole", None), ("field", "whole"), ("whole", "field"), ("field", None)]
    ]
    assert boxes[0] == boxes[1] == canvas.part_box("whole", image.shape, field_of_view.find(image.pixels))
    assert boxes[2] == boxes[3] == field_of_view.find(image.pixels).box


def rules(cutoff, tta_views=1):
    """Return the selection rules of a package: EX by GlobalNet's odds, MA by dark blobs."""
    criteria = {"EX": LesionCriterion(cutoff=cutoff), "MA": LesionCriterion(cutoff=99.0, blobs="dark")}
    return {"balanced": SelectionRule(tta_views=tta_views, criteria=criteria)}


class UpperHalf(Red):
    """An engine whose GlobalNet sees EX in the upper half, and whose LocalNet gives 1 everywhere."""

    def run_global(self, view):
        output = super().run_global(view)
        probabilities = np.full_like(output.probabilities, 0.25)
        probabilities[0, : probabilities.shape[1] // 2] = 0.5
        return replace(output, probabilities=probabilities)

    def run_local(self, batch):
        return np.ones_like(super().run_local(batch))


@pytest.mark.parametrize("step", [None, 8])
def test_at_less_than_full_effort_only_selected_windows_are_computed(step):
    image = photograph(tiny_package.fundus(diameter=500))
    model = tiny_package.restated(package(field_diameter=500.0, step=step), selection_rules=rules(-0.1))

    result, engine = run_segment(image, model, UpperHalf, effort="balanced")

    levels = result.probabilities.maps[0]
    inside = levels > 0
    half = len(levels) // 2
    assert (levels[: half - 40][inside[: half - 40]] == LEVELS).all()
    assert (levels[half + 70 :][inside[half + 70 :]] == round(0.25 * LEVELS)).all()
    assert sum(engine.batches) == len(result.tiling.corners)
    full, _ = run_segment(image, model, UpperHalf)
    assert len(full.tiling.corners) * np.prod(full.tiling.window) > sum(engine.batches) * 64**2
    assert (full.probabilities.maps[0][inside] == LEVELS).all()


def test_where_no_window_is_selected_the_map_is_globalnets():
    image = photograph(tiny_package.fundus(diameter=500))
    model = tiny_package.restated(package(field_diameter=500.0), selection_rules=rules(9.0))

    result, engine = run_segment(image, model, UpperHalf, effort="balanced", lesions=("MA",))

    (levels,) = result.probabilities.maps
    assert not engine.batches
    assert set(np.unique(levels)) == {0, round(0.25 * LEVELS)}


def test_the_progress_ends_at_one_where_no_window_is_selected():
    model = tiny_package.restated(package(field_diameter=500.0), selection_rules=rules(9.0))
    shares = []

    result = segment(
        photograph(tiny_package.fundus(diameter=500)),
        model,
        UpperHalf(model.contract),
        Settings(effort="balanced"),
        progress=shares.append,
    )

    assert not len(result.tiling.corners)
    assert shares == [1]


def test_fewer_views_are_averaged_where_the_selection_rule_says_so():
    model = tiny_package.restated(package(tta_views=8), selection_rules=rules(9.0, tta_views=4))

    _, engine = run_segment(photograph(tiny_package.fundus()), model, UpperHalf, effort="balanced")

    assert len(engine.views) == 4


@pytest.mark.parametrize("selection_rules", [{}, rules(0.0)])
def test_an_effort_that_the_model_does_not_have_is_refused_with_those_it_has(selection_rules):
    model = tiny_package.restated(package(), selection_rules=selection_rules)
    engine = Red(model.contract)
    known = "full, balanced, best" if selection_rules else "full, best"

    with pytest.raises(SettingError, match=f"fake 0 .* for effort fast; choose --effort {known}$"):
        segment(photograph(tiny_package.fundus()), model, engine, Settings(effort="fast"))

    assert not engine.views


def test_the_engines_memory_is_freed_once_all_windows_are_computed():
    class Freed(Red):
        def release_memory(self):
            super().release_memory()
            self.batches.append("freed")

    _, engine = run_segment(noise((150, 150)), package(field_diameter=150.0), Freed, field="full")

    assert engine.releases == 1
    assert engine.batches.index("freed") == len(engine.batches) - 1


class RightNeighbour(Red):
    """An engine that does not turn with its windows: each pixel's probability is its right neighbour's."""

    def run_local(self, batch):
        probabilities = super().run_local(batch)
        return np.concatenate([probabilities[..., 1:], probabilities[..., -1:]], axis=-1)


def test_best_effort_sees_each_window_in_four_rotations():
    image = noise((150, 210))
    model = package(field_diameter=math.hypot(150, 210), step=2)

    result, engine = run_segment(image, model, RightNeighbour, effort="best", field="full")

    levels = image.pixels[..., 0] * 257.0
    neighbours = levels[1:-1, 2:] + levels[1:-1, :-2] + levels[2:, 1:-1] + levels[:-2, 1:-1]
    assert len(result.tiling.corners) == 1  # so that no pixel is at the rim of a window within the photograph
    assert engine.batches == [1] * 4
    for stored in result.probabilities.maps:
        assert np.abs(stored[1:-1, 1:-1] - neighbours / 4).max() <= 1


@pytest.mark.parametrize("step", [None, 16])
@pytest.mark.parametrize("engine_class", [Red, Difference])
def test_best_effort_equals_full_for_an_engine_that_turns_with_its_windows(engine_class, step):
    image = noise((290, 310))
    model = package(step=step, tta_views=8, view_side=96)

    best, engine = run_segment(image, model, engine_class, effort="best", field="full")
    full, once = run_segment(image, model, engine_class, field="full")

    assert np.abs(np.asarray(best.probabilities.maps).astype(int) - full.probabilities.maps).max() <= 1
    np.testing.assert_array_equal(best.tiling.corners, full.tiling.corners)
    assert best.tiling.window == full.tiling.window
    assert engine.batches == [size for size in once.batches for _ in range(4)]
    assert len(engine.views) == len(once.views) == 8


def test_the_progress_of_best_effort_counts_windows_not_rotations():
    shares = {}
    for effort in ("full", "best"):
        model, shares[effort] = package(), []
        segment(
            noise((290, 310)),
            model,
            Red(model.contract),
            Settings(effort=effort, field="full"),
            progress=shares[effort].append,
        )

    assert shares["best"] == shares["full"]
    assert len(shares["best"]) > 1
    assert shares["best"][-1] == 1


@pytest.mark.parametrize("selection_rules", [{}, rules(0.0)])
def test_best_effort_needs_no_selection_rule_and_takes_all_windows(selection_rules):
    model = tiny_package.restated(package(), selection_rules=selection_rules)

    assert selection_rule(model, "best") is None


def test_coarse_maps_and_scores_need_no_window():
    image = photograph(tiny_package.fundus(diameter=500))
    model = package(field_diameter=500.0, step=8)
    engine = UpperHalf(model.contract)

    scores, maps = coarse_maps(image, model, engine, 1)

    assert not engine.batches
    assert maps.shape[1:] == segment(image, model, engine).probabilities.frame.shape
    upper = scores.cells.last[:, 0] < maps.shape[1] // 2
    np.testing.assert_allclose(scores.coarse["EX"][upper], 0.5)
    assert set(np.unique(maps)) <= {0, *range(round(0.25 * LEVELS), round(0.5 * LEVELS) + 2)}


class Lopsided(Difference):
    """An engine whose global features lie one pixel to the right of what they show."""

    def run_global(self, view):
        output = super().run_global(view)
        return replace(output, features=np.roll(output.features, 1, axis=-1))


def test_the_mean_of_all_views_turns_and_mirrors_with_the_photograph():
    image = tiny_package.fundus(diameter=240)
    model = package(tta_views=8, view_side=64, window_side=128)
    single = tiny_package.restated(model, contract=replace(model.contract, tta_views=1))
    mirrored = photograph(np.ascontiguousarray(image[:, ::-1]))

    def maps(picture, model):
        result, _ = run_segment(picture, model, Lopsided, part="whole", field="full")
        return np.asarray(result.probabilities.maps).astype(int)

    even = maps(photograph(image), model)[:, :, ::-1] - maps(mirrored, model)
    uneven = maps(photograph(image), single)[:, :, ::-1] - maps(mirrored, single)
    assert np.abs(even).max() <= 1 < np.abs(uneven).max()


def test_eight_different_views_are_averaged():
    model = package(tta_views=8, view_side=32, window_side=64)
    single = tiny_package.restated(model, contract=replace(model.contract, tta_views=1))
    views = []

    class Recorder(Difference):
        def run_global(self, view):
            views.append(view)
            return super().run_global(view)

    mean_of_eight, _ = run_segment(noise((140, 150)), model, Recorder, field="full")
    of_one, _ = run_segment(noise((140, 150)), single, Recorder, field="full")

    assert len(views) == 9
    assert len({view.tobytes() for view in views}) == 8
    np.testing.assert_allclose(mean_of_eight.probabilities.maps, of_one.probabilities.maps, atol=1)
