// Rows of a long list: only those on the screen, and a few around them, exist as elements.
//
// Knows:   where each row lies, which are on the screen, and how their elements are kept and replaced.
// Ignores: what a row says.

import { whenReleased } from "./dom.js";

const AROUND = 400; // px above and below the screen where rows exist already, so that scrolling shows no gap

/**
 * Create the rows of a scrolling list.
 *
 * build(entry): a row's element. keyOf(entry): its identity. signatureOf(entry): changes when the element must
 * be rebuilt. heightOf(entry): px. wanted(entry): whether its element exists even off the screen.
 */
export function createVirtualRows(list, { build, keyOf, signatureOf, heightOf, wanted }) {
  const rows = new Map(); // key -> {element, signature}
  let placed = []; // {entry, top, height}
  let frame = 0;

  const show = (entries) => whenReleased(list, () => place(entries));

  function place(entries) {
    let top = 0;
    placed = entries.map((entry) => {
      const placing = { entry, top, height: heightOf(entry) };
      top += placing.height;
      return placing;
    });
    list.style.setProperty("--height", `${top}px`);
    draw();
  }

  function draw() {
    const from = list.scrollTop - AROUND,
      to = list.scrollTop + list.clientHeight + AROUND;
    const drawn = placed.filter(
      ({ entry, top, height }) => (top + height > from && top < to) || wanted(entry) || isFocused(entry),
    );
    const keys = new Set(drawn.map(({ entry }) => keyOf(entry)));
    for (const [key, { element }] of rows) if (!keys.has(key)) remove(key, element);
    drawn.forEach(({ entry, top }, index) => {
      const element = elementOf(entry);
      element.style.setProperty("top", `${top}px`);
      if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
    });
  }

  const isFocused = (entry) => rows.get(keyOf(entry))?.element.contains(document.activeElement) ?? false;

  function remove(key, element) {
    rows.delete(key);
    element.remove();
  }

  /** Return a row's element; if it is rebuilt, the focus stays on the same control. */
  function elementOf(entry) {
    const key = keyOf(entry),
      signature = signatureOf(entry),
      known = rows.get(key);
    if (known?.signature === signature) return known.element;
    const element = build(entry);
    const focused = known?.element.contains(document.activeElement) ? document.activeElement.className : null;
    known?.element.replaceWith(element);
    rows.set(key, { element, signature });
    if (focused !== null)
      (element.querySelector(`.${focused.split(" ").at(-1)}`) ?? element).focus({ preventScroll: true });
    return element;
  }

  /** Scroll so that a row is on the screen. */
  function reveal(key) {
    const place = placed.find(({ entry }) => keyOf(entry) === key);
    if (!place) return;
    if (place.top < list.scrollTop) list.scrollTop = place.top - place.height;
    else if (place.top + place.height > list.scrollTop + list.clientHeight)
      list.scrollTop = place.top + 2 * place.height - list.clientHeight;
    draw();
  }

  const drawSoon = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  };
  list.addEventListener("scroll", drawSoon, { passive: true });
  new ResizeObserver(drawSoon).observe(list);

  return { show, reveal, elementOf: (key) => rows.get(key)?.element };
}
