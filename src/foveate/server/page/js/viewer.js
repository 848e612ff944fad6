// The photograph, and beside it the untouched one: two OpenSeadragon viewers that move together.
//
// Knows:   OpenSeadragon, and how the photograph's pixels map to the screen.
// Ignores: layers, tools, lists.

import { photographTileSource } from "./tiles.js";

const { OpenSeadragon } = window;

const MAX_SCALE = 40; // screen px for each px of the photograph
const SMOOTH_BELOW = 3; // screen px for each px of the photograph: from here on, pixels have sharp edges
const MIN_EXTENT = 160; // px of the photograph that are shown at least around a region: our choice

/** Return how many px of the photograph to show around a region with a given side: it keeps some context. */
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
 * elements: {main, untouched}. worker: a worker client.
 * callbacks: {onMove(), onReady(), onPointer(point or null, isMain)}.
 */
export function createViewers(elements, worker, { onMove, onReady, onPointer }) {
  const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const drawer = preferredDrawers();
  suppressStyleSheet();
  const main = createViewer(elements.main, drawer, reducedMotion);
  let untouched = null;
  let photograph = null;
  let colours = "colour";
  let leader = main; // the viewer that the person moves; the other one follows
  let showWholeNext = false; // after OpenSeadragon has adapted to a new size of the pane

  /**
   * Return {x, y, scale, width, height}: where the photograph lies on the screen, CSS px; null if there is
   * none.
   */
  function placement(viewer = main) {
    if (!photograph || !viewer.world.getItemCount()) return null;
    const bounds = viewer.viewport.getBounds(true);
    const size = viewer.viewport.getContainerSize();
    const scale = size.x / (bounds.width * photograph.width);
    return {
      x: -bounds.x * photograph.width * scale,
      y: -bounds.y * photograph.width * scale,
      scale,
      width: size.x,
      height: size.y,
    };
  }

  /** Add the photograph in some colours; earlier images stay below until it is fully loaded. */
  function addImage(viewer, view) {
    const earlier = imagesOf(viewer);
    const removeEarlier = () =>
      earlier.forEach((image) => viewer.world.getIndexOfItem(image) >= 0 && viewer.world.removeItem(image));
    viewer.addTiledImage({
      tileSource: photographTileSource(photograph, view, worker),
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
    colours = "colour";
    for (const viewer of [main, untouched]) {
      if (!viewer) continue;
      viewer.world.removeAll();
      if (!next) continue;
      addImage(viewer, "colour");
      viewer.viewport.goHome(true);
    }
  }

  main.world.addHandler("add-item", ({ eventSource }) => {
    if (eventSource.getItemCount() !== 1) return;
    main.viewport.goHome(true);
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
    const wasWhole = isWhole();
    if (enabled && !untouched) {
      untouched = createViewer(elements.untouched, drawer, reducedMotion);
      untouched.addHandler("update-viewport", () => leader === untouched && follow(untouched, main));
      if (photograph) addImage(untouched, "colour");
      untouched.world.addHandler("add-item", () => follow(main, untouched));
      watchPointer(untouched, elements.untouched);
    }
    resize(wasWhole);
    if (enabled) follow(main, untouched);
  }

  /** Return whether the whole photograph is shown: it stays so when the screen changes. */
  const isWhole = () =>
    !main.world.getItemCount() || main.viewport.getZoom() <= main.viewport.getHomeZoom() * 1.02;

  function resize(wasWhole = isWhole()) {
    showWholeNext ||= wasWhole;
    main.forceResize();
    untouched?.forceResize();
  }

  function follow(moved, follower) {
    if (!follower?.world.getItemCount()) return;
    follower.viewport.zoomTo(moved.viewport.getZoom(true), null, true);
    follower.viewport.panTo(moved.viewport.getCenter(true), true);
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
    element.addEventListener("pointermove", (event) => onPointer(pointAt(event, viewer), viewer === main));
    element.addEventListener("pointerleave", () => onPointer(null, viewer === main));
  }
  watchPointer(main, elements.main);

  /** Return the point of the photograph under a pointer event: {x, y} in px; null outside the photograph. */
  function pointAt(event, viewer = main) {
    const current = placement(viewer);
    if (!current) return null;
    const frame = viewer.element.getBoundingClientRect();
    const x = (event.clientX - frame.left - current.x) / current.scale;
    const y = (event.clientY - frame.top - current.y) / current.scale;
    return x >= 0 && y >= 0 && x < photograph.width && y < photograph.height ? { x, y } : null;
  }

  const viewportPoint = (x, y) => new OpenSeadragon.Point(x / photograph.width, y / photograph.width);

  function moveBy(action) {
    if (!photograph) return;
    leader = main;
    action(main.viewport);
    main.viewport.applyConstraints();
  }

  main.addHandler("update-viewport", () => {
    if (showWholeNext) {
      showWholeNext = false;
      main.viewport.goHome(true);
    }
    if (leader === main) follow(main, untouched);
    updateSmoothing();
    onMove();
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
    zoomBy: (factor, at) => moveBy((port) => port.zoomBy(factor, at && viewportPoint(at.x, at.y))),
    /** Zoom to so many screen px for each px of the photograph. */
    zoomTo: (scale) => moveBy((port) => port.zoomTo((scale * photograph.width) / port.getContainerSize().x)),
    panBy: (right, down) =>
      moveBy((port) => port.panBy(port.deltaPointsFromPixels(new OpenSeadragon.Point(right, down)))),
    showWhole: () => moveBy((port) => port.goHome()),
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
    /** Request tiles that failed again. */
    reloadTiles: () => [main, untouched].forEach((viewer) => viewer?.world.resetItems()),
    /** Return which drawer is in use, for measurements: "canvas" or "webgl". */
    drawer: () => main.drawer.getType(),
    isLoaded: () => main.world.getItemCount() > 0 && imagesOf(main).at(-1).getFullyLoaded(),
    isMoving() {
      const { viewport } = main;
      const distance = viewport.getCenter(true).minus(viewport.getCenter(false));
      return (
        Math.hypot(distance.x, distance.y) > 1e-6 ||
        Math.abs(viewport.getZoom(true) / viewport.getZoom(false) - 1) > 1e-6
      );
    },
  };
}
