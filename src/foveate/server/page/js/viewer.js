// The photograph, and beside it the untouched one: two OpenSeadragon viewers that move together.
//
// Knows:   OpenSeadragon, and how the photograph's pixels map to the screen.
// Ignores: layers, tools, lists.

import { inverse, linkThrough, mapped, SAME } from "./alignment.js";
import { photographTileSource } from "./tiles.js";

const { OpenSeadragon } = window;

const MAX_SCALE = 40; // screen px for each px of the photograph
const SMOOTH_BELOW = 3; // screen px for each px of the photograph: from this scale on, pixels have sharp edges
const AROUND_FIELD = 1.03; // side of the shown part of the photograph, in sides of the field of view
const MIN_EXTENT = 160; // px of the photograph that are shown around a region at least: our choice

/** Return how many px of the photograph to show around a region with a given side, for some context. */
const extentAround = (side) => Math.max(MIN_EXTENT, Math.min(6 * side, 2 * side + 400));

/**
 * Return OpenSeadragon's drawers by preference: without a graphics processor its canvas is faster than WebGL.
 */
function preferredDrawers() {
  const context = document.createElement("canvas").getContext("webgl2");
  const info = context?.getExtension("WEBGL_debug_renderer_info");
  const renderer = info ? context.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return !context || /swiftshader|llvmpipe|software/i.test(renderer) ? ["canvas"] : ["webgl", "canvas"];
}

/**
 * Keep OpenSeadragon from adding its own style sheet for the focus ring, which our content security policy
 * refuses. It looks for an element with this attribute first; page.css has the focus ring.
 */
function suppressStyleSheet() {
  const placeholder = document.createElementNS("urn:foveate", "style");
  placeholder.setAttribute("data-openseadragon-mobile-css", "");
  document.head.append(placeholder);
}

function createViewer(element, drawer, reducedMotion) {
  return OpenSeadragon({
    element,
    tabIndex: "", // the element in index.html takes the focus, since it has a name
    drawer,
    showNavigationControl: false,
    showNavigator: false,
    preserveViewport: true, // `fit` frames the field of view where OpenSeadragon would show the whole
    keyboardNavEnabled: false, // keyboard.js handles keys, once for both viewers
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true, flickEnabled: true },
    gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
    animationTime: reducedMotion ? 0 : 0.45,
    springStiffness: 8,
    maxZoomPixelRatio: MAX_SCALE,
    minZoomImageRatio: 0.6,
    visibilityRatio: 0.35,
    zoomPerScroll: 1.25,
    maxTilesPerFrame: 4,
    imageLoaderLimit: 6,
    maxImageCacheCount: 500,
    smoothTileEdgesMinZoom: Infinity, // tiles do not overlap; smoothing would draw each frame twice
    subPixelRoundingForTransparency: OpenSeadragon.SUBPIXEL_ROUNDING_OCCURRENCES.NEVER,
    imageSmoothingEnabled: true,
    tileRetryMax: 3,
    tileRetryDelay: 800,
  });
}

const imagesOf = ({ world }) =>
  Array.from({ length: world.getItemCount() }, (_, index) => world.getItemAt(index));

/**
 * Create both viewers; the second one only when it is first shown.
 *
 * elements: {main, untouched, loupe}. worker: a worker client.
 * callbacks: {onMove(), onReady(), onPointer(point or null, isMain)}; the point under the pointer changes also when the
 * photograph moves, or another one is shown.
 */
export function createViewers(elements, worker, { onMove, onReady, onPointer }) {
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const drawer = preferredDrawers();
  suppressStyleSheet();
  const main = createViewer(elements.main, drawer, reducedMotion);
  let untouched = null;
  let photograph = null;
  let beside = null; // the photograph in the second pane; null: the same one
  let link = SAME; // how its pixels correspond to those of the first (alignment.js)
  let isLinked = true;
  let lens = null; // the loupe's viewer, and the photograph in it
  let lensId = null;
  let colours = "colour";
  let leader = main; // the viewer that the person moves; the other one follows
  let field = null; // box of the field of view, px of the photograph; null until it is known
  let showNext = null; // what to show when OpenSeadragon has adapted to a new size of the pane
  let pointer = null; // the pointer's last position on a pane: {clientX, clientY, viewer}
  let shownBefore = null; // side by side: {alone, both}: the bounds shown before, and the bounds shown since

  /**
   * Return {x, y, scale, width, height}: where the photograph lies on the screen, CSS px; null if there is
   * none.
   */
  function placement(viewer = main) {
    if (!photograph || !viewer.world.getItemCount()) return null;
    const { width } = photographOf(viewer);
    const bounds = viewer.viewport.getBounds(true);
    const size = viewer.viewport.getContainerSize();
    const scale = size.x / (bounds.width * width);
    return {
      x: -bounds.x * width * scale,
      y: -bounds.y * width * scale,
      scale,
      width: size.x,
      height: size.y,
    };
  }

  const photographOf = (viewer) => (viewer === untouched && beside ? beside : photograph);

  /** Add the photograph in the given colours; earlier images stay below until it is fully loaded. */
  function addImage(viewer, view) {
    const earlier = imagesOf(viewer);
    const removeEarlier = () =>
      earlier.forEach((image) => viewer.world.getIndexOfItem(image) >= 0 && viewer.world.removeItem(image));
    viewer.addTiledImage({
      tileSource: photographTileSource(photographOf(viewer), view, worker),
      success: ({ item: added }) => {
        updateSmoothing();
        if (!earlier.length) return;
        if (added.getFullyLoaded()) return removeEarlier();
        added.addHandler("fully-loaded-change", function onLoaded({ fullyLoaded }) {
          if (!fullyLoaded) return;
          added.removeHandler("fully-loaded-change", onLoaded);
          removeEarlier();
        });
      },
    });
  }

  /** Show a photograph in its own colours; null for none. */
  function show(next) {
    photograph = next;
    field = next?.result?.field.box ?? null;
    shownBefore = null;
    unlinkBeside();
    colours = "colour";
    for (const viewer of [main, untouched]) {
      if (!viewer) continue;
      viewer.world.removeAll();
      if (!next) continue;
      addImage(viewer, "colour");
      fit(true, viewer);
    }
    reportPointer();
  }

  /** Set the field of view of the photograph, which its analysis detects. */
  function setField(box) {
    const wasFit = isFit();
    field = box;
    if (wasFit) fit(true);
  }

  /** Return the bounds of the field of view, in the viewport's units; of the whole photograph if there is none. */
  function fitBounds(viewer = main) {
    const { width, height } = photograph;
    if (!field) return viewer.world.getHomeBounds();
    const extent = { width: field.width * AROUND_FIELD, height: field.height * AROUND_FIELD };
    const x = Math.max(0, field.x - (extent.width - field.width) / 2),
      y = Math.max(0, field.y - (extent.height - field.height) / 2);
    const right = Math.min(width, x + extent.width),
      bottom = Math.min(height, y + extent.height);
    return new OpenSeadragon.Rect(x / width, y / width, (right - x) / width, (bottom - y) / width);
  }

  /** Frame the field of view, without the dark surround. */
  function fit(immediately, viewer = main) {
    if (photograph && viewer.world.getItemCount()) viewer.viewport.fitBounds(fitBounds(viewer), immediately);
  }

  /** Frame the field of view; if it is framed already, show the whole photograph. */
  function toggleFit() {
    if (!photograph) return;
    leader = main;
    if (isFit() && field) main.viewport.goHome();
    else fit(false);
  }

  main.world.addHandler("add-item", ({ eventSource }) => {
    if (eventSource.getItemCount() !== 1) return;
    fit(true);
    onReady();
  });

  /** Show the photograph in "colour", "redfree" or "enhanced". */
  function setColours(next) {
    if (!photograph || next === colours) return;
    colours = next;
    addImage(main, next);
  }

  function setBrightness(value) {
    elements.main.style.setProperty("filter", value === 1 ? "none" : `brightness(${value})`);
  }

  /** Show or hide the untouched photograph; its pane must have been shown or hidden before. */
  function setSideBySide(enabled) {
    const before = main.viewport.getBounds();
    const wasFit = isFit();
    if (enabled && !untouched) {
      untouched = createViewer(elements.untouched, drawer, reducedMotion);
      untouched.addHandler("update-viewport", () => leader === untouched && follow(untouched, main));
      if (photograph) addImage(untouched, "colour");
      turnBeside();
      untouched.world.addHandler("add-item", () => follow(main, untouched));
      watchPointer(untouched, elements.untouched);
    }
    leader = main;
    const isMoved = shownBefore && !isAlike(before, shownBefore.both);
    showNext = wasFit ? "fit" : enabled || isMoved || !shownBefore ? before : shownBefore.alone;
    shownBefore = enabled ? { alone: before, both: null } : null;
    resize();
  }

  const isAlike = (a, b) =>
    b && Math.abs(a.width / b.width - 1) < 0.01 && a.getCenter().distanceTo(b.getCenter()) < a.width * 0.01;

  /** Return whether the field of view is framed: it stays framed when the screen changes. */
  function isFit() {
    if (!photograph || !main.world.getItemCount()) return true;
    const framed = fitBounds(),
      shown = main.viewport.getBounds(),
      container = main.viewport.getContainerSize();
    const zoom = Math.min(1 / framed.width, container.y / container.x / framed.height);
    return (
      Math.abs(1 / shown.width / zoom - 1) < 0.03 &&
      shown.getCenter().distanceTo(framed.getCenter()) < 0.03 * shown.width
    );
  }

  function resize() {
    showNext ??= isFit() ? "fit" : null;
    main.forceResize();
    untouched?.forceResize();
  }

  function follow(moved, follower) {
    if (!isLinked || !follower?.world.getItemCount()) return;
    const from = photographOf(moved).width,
      to = photographOf(follower).width;
    const direction = moved === main ? link : inverse(link);
    const centre = moved.viewport.getCenter(true);
    const { x, y } = mapped(direction, { x: centre.x * from, y: centre.y * from });
    follower.viewport.zoomTo((moved.viewport.getZoom(true) * to) / from / direction.factor, null, true);
    follower.viewport.panTo(new OpenSeadragon.Point(x / to, y / to), true);
  }

  /** Turn the second pane so that both eyes lie alike; the first one is never turned. */
  const turnBeside = () => untouched?.viewport.setRotation((-link.angle * 180) / Math.PI, true);

  function unlinkBeside() {
    beside = null;
    link = SAME;
    isLinked = true;
    turnBeside();
  }

  /** Show another photograph in the second pane, with a link of both; null: the same, untouched. */
  function setBeside(other, linkOfBoth = SAME) {
    unlinkBeside();
    beside = other;
    link = linkOfBoth;
    turnBeside();
    if (!untouched || !photograph) return;
    untouched.world.removeAll();
    addImage(untouched, "colour");
    leader = main;
    follow(main, untouched);
  }

  /** Link both panes as they are now, or unlink them, so that each can be moved alone to align them. */
  function setLinked(next) {
    if (next && untouched?.world.getItemCount()) {
      const a = main.viewport.getCenter(true),
        b = untouched.viewport.getCenter(true);
      const from = photograph.width,
        to = photographOf(untouched).width;
      const factor = (main.viewport.getZoom(true) * to) / (untouched.viewport.getZoom(true) * from);
      link = linkThrough({ x: a.x * from, y: a.y * from }, { x: b.x * to, y: b.y * to }, factor, link.angle);
    }
    isLinked = next;
    leader = main;
  }

  /** Fill the loupe with what lies around a point of the photograph, in its own colours. */
  function magnify({ x, y }, scale) {
    lens ??= createViewer(elements.loupe, drawer, true);
    lens.setMouseNavEnabled(false);
    if (lensId !== photograph.id) {
      lensId = photograph.id;
      lens.world.removeAll();
      addImage(lens, "colour");
    }
    lens.viewport.zoomTo((scale * photograph.width) / lens.viewport.getContainerSize().x, null, true);
    lens.viewport.panTo(viewportPoint(x, y), true);
  }

  function updateSmoothing() {
    const current = placement();
    if (!current) return;
    for (const viewer of [main, untouched])
      if (viewer?.world.getItemCount()) viewer.drawer.setImageSmoothingEnabled(current.scale < SMOOTH_BELOW);
  }

  function watchPointer(viewer, element) {
    const lead = () => {
      leader = viewer;
    };
    element.addEventListener("pointerdown", lead, true);
    element.addEventListener("wheel", lead, { capture: true, passive: true });
    element.addEventListener("pointermove", (event) => setPointer(event, viewer));
    element.addEventListener("pointerleave", () => setPointer(null));
  }

  /** Set where the pointer is, by its event; null: on no pane. */
  function setPointer(event, viewer = main) {
    pointer = event && { clientX: event.clientX, clientY: event.clientY, viewer };
    reportPointer();
  }

  function reportPointer() {
    onPointer(pointer && pointAt(pointer, pointer.viewer), pointer?.viewer !== untouched);
  }
  watchPointer(main, elements.main);

  /** Return the point of the photograph under a pointer event: {x, y} in px; null outside the photograph. */
  function pointAt(event, viewer = main) {
    const current = placement(viewer);
    if (!current) return null;
    const frame = viewer.element.getBoundingClientRect();
    const { width, height } = photographOf(viewer);
    const onPane = new OpenSeadragon.Point(event.clientX - frame.left, event.clientY - frame.top);
    const point = viewer.viewport.pointFromPixel(onPane, true); // which may be turned
    const [x, y] = [point.x * width, point.y * width];
    return x >= 0 && y >= 0 && x < width && y < height ? { x, y } : null;
  }

  const viewportPoint = (x, y) => new OpenSeadragon.Point(x / photograph.width, y / photograph.width);

  /** Return the centre at which a photograph of a width, screen px, begins on whole px, which is sharper. */
  function onWholePixels(port, width) {
    const centre = port.getCenter(),
      size = port.getContainerSize();
    const whole = (middle, place) => (middle - Math.round(middle - place * width)) / width;
    return new OpenSeadragon.Point(whole(size.x / 2, centre.x), whole(size.y / 2, centre.y));
  }

  function moveBy(action) {
    if (!photograph) return;
    leader = main;
    action(main.viewport);
    main.viewport.applyConstraints();
  }

  main.addHandler("update-viewport", () => {
    if (showNext) {
      const bounds = showNext;
      showNext = null;
      if (bounds === "fit") fit(true);
      else main.viewport.fitBounds(bounds, true);
      if (shownBefore && !shownBefore.both) shownBefore.both = main.viewport.getBounds();
    }
    if (leader === main) follow(main, untouched);
    updateSmoothing();
    onMove();
    reportPointer();
  });
  main.addHandler("resize", () => onMove());

  return {
    show,
    setColours,
    setBrightness,
    setSideBySide,
    placement,
    resize: () => resize(),
    pointAt: (event) => pointAt(event),
    setPointer: (event) => setPointer(event),
    reportPointer,
    zoomBy: (factor, at) => moveBy((port) => port.zoomBy(factor, at && viewportPoint(at.x, at.y))),
    /** Zoom to so many screen px for each px of the photograph. */
    zoomTo: (scale) =>
      moveBy((port) => {
        port.zoomTo((scale * photograph.width) / port.getContainerSize().x);
        port.panTo(onWholePixels(port, scale * photograph.width));
      }),
    panBy: (right, down) =>
      moveBy((port) => port.panBy(port.deltaPointsFromPixels(new OpenSeadragon.Point(right, down)))),
    setField,
    toggleFit,
    setBeside,
    setLinked,
    /** Return where a place of the photograph in the second pane lies on that pane, CSS px; null without it. */
    placeBeside(point) {
      if (!untouched?.world.getItemCount()) return null;
      const { width } = photographOf(untouched);
      const { x, y } = untouched.viewport.pixelFromPoint(
        new OpenSeadragon.Point(point.x / width, point.y / width),
        true,
      );
      return { x, y };
    },
    magnify,
    /** Zoom by a factor, and move the photograph from one point of the screen to another, with the fingers. */
    pinch(factor, from, to) {
      if (!photograph) return;
      leader = main;
      const port = main.viewport,
        size = port.getContainerSize(),
        { left, top } = elements.main.getBoundingClientRect();
      const point = port.pointFromPixel(new OpenSeadragon.Point(from.x - left, from.y - top), true);
      const zoom = Math.min(Math.max(port.getZoom(true) * factor, port.getMinZoom()), port.getMaxZoom());
      const unit = 1 / (zoom * size.x); // not by a reference point: several fingers move between two frames
      const x = point.x - (to.x - left - size.x / 2) * unit,
        y = point.y - (to.y - top - size.y / 2) * unit;
      port.zoomTo(zoom, null, true);
      port.panTo(new OpenSeadragon.Point(x, y), true);
      port.applyConstraints(true);
    },
    /** Move to a box of the photograph, px, with some retina around it. */
    showBox: ({ x, y, width, height }) =>
      moveBy((port) => {
        const extent = extentAround(Math.max(width, height));
        const corner = viewportPoint(x + width / 2 - extent / 2, y + height / 2 - extent / 2);
        const side = extent / photograph.width;
        port.fitBounds(new OpenSeadragon.Rect(corner.x, corner.y, side, side));
      }),
    /** Choose whether a pointer moves the photograph, or is left to a tool. */
    setPointerMoves: (enabled) => main.setMouseNavEnabled(enabled),
    /** Request failed tiles again. */
    reloadTiles: () => [main, untouched].forEach((viewer) => viewer?.world.resetItems()),
    /** Return which drawer is in use, for measurements: "canvas" or "webgl". */
    drawer: () => main.drawer.getType(),
    isLoaded: () => main.world.getItemCount() > 0 && imagesOf(main).at(-1).getFullyLoaded(),
    isMoving() {
      const { viewport } = main;
      const distance = viewport.getCenter(true).minus(viewport.getCenter(false));
      return (
        showNext !== null ||
        Math.hypot(distance.x, distance.y) > 1e-6 ||
        Math.abs(viewport.getZoom(true) / viewport.getZoom(false) - 1) > 1e-6
      );
    },
  };
}
