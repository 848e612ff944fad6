// The photograph, and beside it the untouched one: two viewers that move as one.
//
// Knows:   OpenSeadragon, and how photograph and screen map onto each other.
// Ignores: layers, tools, lists.

import { errands as newErrands } from "./errands.js";
import { source } from "./tiles.js";

const { OpenSeadragon } = window;

const DEEPEST = 40; // screen px a pixel of the photograph
const LEAST = 160; // px of the photograph that are shown at least where one flies to a region: our choice

/** How many px of the photograph are shown where one flies to a region: some retina around it. */
const around = (side) => Math.max(LEAST, Math.min(6 * side, 2 * side + 400));

/** Where a computer draws with its processor alone, OpenSeadragon's canvas is quicker than WebGL. */
function drawer() {
  const context = document.createElement("canvas").getContext("webgl2");
  const about = context?.getExtension("WEBGL_debug_renderer_info");
  const renderer = about ? context.getParameter(about.UNMASKED_RENDERER_WEBGL) : "";
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return !context || /swiftshader|llvmpipe|software/i.test(renderer) ? ["canvas"] : ["webgl", "canvas"];
}

/**
 * OpenSeadragon adds a style sheet for its focus ring where none is marked as such, which our content security
 * policy refuses. Ours stands in page.css; the mark is an element of that name without a meaning.
 */
function withoutItsStyle() {
  const style = document.createElementNS("urn:foveate", "style");
  style.setAttribute("data-openseadragon-mobile-css", "");
  document.head.append(style);
}

function open(element, drawn, still) {
  return OpenSeadragon({
    element,
    tabIndex: "", // the element that we named and made reachable is the one that takes keys
    drawer: drawn,
    showNavigationControl: false,
    showNavigator: false,
    keyboardNavEnabled: false, // keys are keys.js's, once for both viewers
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true, flickEnabled: true },
    gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
    animationTime: still ? 0 : 0.45,
    springStiffness: 8,
    maxZoomPixelRatio: DEEPEST,
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

/**
 * panes: {main, plain}: the elements. on: {move(), ready(), pointer(place | null)}.
 */
export function viewers(panes, on) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const drawn = drawer();
  withoutItsStyle();
  const errands = newErrands();
  const main = open(panes.main, drawn, still);
  let plain = null; // made when first wanted
  let photograph = null;
  let colours = "colour";
  let leader = main; // which of the two a hand moves; the other follows

  const item = (viewer) => viewer.world.getItemAt(viewer.world.getItemCount() - 1);

  /** {x, y, scale, width, height} of the photograph on the screen, CSS px; null while there is none. */
  function place(viewer = main) {
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

  function load(viewer, view) {
    const before = Array.from({ length: viewer.world.getItemCount() }, (_, index) =>
      viewer.world.getItemAt(index),
    );
    viewer.addTiledImage({
      tileSource: source(photograph, view, errands),
      success: ({ item: added }) => {
        sharpen();
        const gone = () =>
          before.forEach((old) => viewer.world.getIndexOfItem(old) >= 0 && viewer.world.removeItem(old));
        if (!before.length) return;
        if (added.getFullyLoaded()) gone();
        else
          added.addHandler("fully-loaded-change", function whole({ fullyLoaded }) {
            if (!fullyLoaded) return;
            added.removeHandler("fully-loaded-change", whole);
            gone();
          });
      },
    });
  }

  /** Show a photograph; null for none. */
  function show(next) {
    photograph = next;
    colours = "colour";
    for (const viewer of [main, plain]) {
      if (!viewer) continue;
      viewer.world.removeAll();
      if (!next) continue;
      load(viewer, "colour");
      viewer.viewport.goHome(true);
    }
  }

  main.world.addHandler("add-item", ({ eventSource }) => {
    if (eventSource.getItemCount() !== 1) return;
    main.viewport.goHome(true);
    on.ready();
  });

  /** Show it in other colours: "colour", "redfree", "enhanced". */
  function view(next) {
    if (!photograph || next === colours) return;
    colours = next;
    load(main, next);
  }

  function brightness(value) {
    panes.main.style.setProperty("filter", value === 1 ? "none" : `brightness(${value})`);
  }

  /** Lay the untouched photograph beside, or take it away. */
  function beside(wanted) {
    const whole = atHome();
    if (wanted && !plain) {
      plain = open(panes.plain, drawn, still);
      plain.addHandler("update-viewport", () => leader === plain && lock(plain, main));
      if (photograph) load(plain, "colour");
      plain.world.addHandler("add-item", () => lock(main, plain));
      watch(plain, panes.plain);
    }
    main.forceResize();
    plain?.forceResize();
    if (whole) main.viewport.goHome(true);
    if (wanted) lock(main, plain);
  }

  /** Whether the whole photograph is shown, so that it stays so when the screen changes. */
  const atHome = () =>
    Boolean(main.world.getItemCount()) && main.viewport.getZoom() <= main.viewport.getHomeZoom() * 1.02;

  function lock(from, to) {
    if (!to?.world.getItemCount()) return;
    to.viewport.zoomTo(from.viewport.getZoom(true), null, true);
    to.viewport.panTo(from.viewport.getCenter(true), true);
  }

  /** Sharp pixels where each covers several of the screen. */
  function sharpen() {
    const here = place();
    if (!here) return;
    const smooth = here.scale < 3;
    for (const viewer of [main, plain])
      if (viewer?.world.getItemCount()) viewer.drawer.setImageSmoothingEnabled(smooth);
  }

  function watch(viewer, element) {
    element.addEventListener(
      "pointerdown",
      () => {
        leader = viewer;
      },
      true,
    );
    element.addEventListener(
      "wheel",
      () => {
        leader = viewer;
      },
      { capture: true, passive: true },
    );
    element.addEventListener("pointermove", (event) => on.pointer(under(viewer, event), viewer === main));
    element.addEventListener("pointerleave", () => on.pointer(null, viewer === main));
  }
  watch(main, panes.main);

  /** The place of the photograph under a pointer's event: {x, y}, px of the photograph; null outside. */
  function under(viewer, event) {
    const here = place(viewer);
    if (!here) return null;
    const frame = viewer.element.getBoundingClientRect();
    const x = (event.clientX - frame.left - here.x) / here.scale;
    const y = (event.clientY - frame.top - here.y) / here.scale;
    return x >= 0 && y >= 0 && x < photograph.width && y < photograph.height ? { x, y } : null;
  }

  const point = (x, y) => new OpenSeadragon.Point(x / photograph.width, y / photograph.width);
  const moved = (go) => {
    if (photograph) {
      leader = main;
      go(main.viewport);
      main.viewport.applyConstraints();
    }
  };

  main.addHandler("update-viewport", () => {
    if (leader === main) lock(main, plain);
    sharpen();
    on.move();
  });
  main.addHandler("resize", () => on.move());

  return {
    show,
    view,
    brightness,
    beside,
    place,
    under: (event) => under(main, event),
    zoomBy: (factor, at) => moved((port) => port.zoomBy(factor, at && point(at.x, at.y))),
    /** Screen px a pixel of the photograph. */
    zoomTo: (scale) => moved((port) => port.zoomTo((scale * photograph.width) / port.getContainerSize().x)),
    panBy: (right, down) =>
      moved((port) => port.panBy(port.deltaPointsFromPixels(new OpenSeadragon.Point(right, down)))),
    fit: () => moved((port) => port.goHome()),
    /** Fly to a box of the photograph, with some retina around it. */
    fly: ({ x, y, width, height }) =>
      moved((port) => {
        const side = around(Math.max(width, height));
        const from = point(x + width / 2 - side / 2, y + height / 2 - side / 2);
        const across = side / photograph.width;
        port.fitBounds(new OpenSeadragon.Rect(from.x, from.y, across, across));
      }),
    /** Whether a pointer moves the photograph, or belongs to a tool. */
    hold: (held) => main.setMouseNavEnabled(!held),
    /** Which part draws, for measurements: "canvas" or "webgl". */
    drawer: () => main.drawer.getType(),
    loaded: () => Boolean(main.world.getItemCount() && item(main).getFullyLoaded()),
    /** Whether it is still on its way to where it was sent. */
    moving: () => {
      const { viewport } = main;
      const away = viewport.getCenter(true).minus(viewport.getCenter(false));
      return (
        Math.hypot(away.x, away.y) > 1e-6 ||
        Math.abs(viewport.getZoom(true) / viewport.getZoom(false) - 1) > 1e-6
      );
    },
    resize: () => {
      const whole = atHome();
      main.forceResize();
      plain?.forceResize();
      if (whole) main.viewport.goHome(true);
    },
  };
}
