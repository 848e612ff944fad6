// Fingers on the photograph while a tool is in use: two of them zoom and move it, as without a tool.
//
// Knows:   which fingers are down, and that all fingers move the photograph once a pen is used, so that a hand
//          that rests on the screen paints nothing. A finger that touches the screen while the pen does has no effect
//          until it is lifted.
// Ignores: what the tools do.

/** viewer: its `pinch(factor, from, to)` moves the photograph from one point of the screen to another. */
export function createGestures(viewer) {
  const fingers = new Map(); // pointer id -> {x, y} of the screen
  let hasPen = false; // has been used
  let pen = null; // pointer id of the pen that is down

  const middleOf = (points) => ({
    x: points.reduce((sum, { x }) => sum + x, 0) / points.length,
    y: points.reduce((sum, { y }) => sum + y, 0) / points.length,
  });
  const spreadOf = ([a, b]) => (b ? Math.hypot(a.x - b.x, a.y - b.y) : 0);

  return {
    /** Record a pointer that goes down; return whether it is a finger that does not use the tool. */
    down({ pointerType, pointerId, clientX, clientY }) {
      if (pointerType === "pen") {
        hasPen = true;
        pen = pointerId;
        fingers.clear(); // the hand that holds the pen
      }
      if (pointerType !== "touch") return false;
      if (pen === null) fingers.set(pointerId, { x: clientX, y: clientY });
      return hasPen || fingers.size > 1;
    },
    /** Move the photograph with the fingers; return whether a pointer is a finger that does not use the tool. */
    move({ pointerType, pointerId, clientX, clientY }) {
      if (pointerType !== "touch" || !(hasPen || fingers.size > 1)) return false;
      if (!fingers.has(pointerId)) return true;
      const before = [...fingers.values()];
      fingers.set(pointerId, { x: clientX, y: clientY });
      const after = [...fingers.values()];
      const factor = spreadOf(before) ? spreadOf(after) / spreadOf(before) : 1;
      viewer.pinch(factor, middleOf(before), middleOf(after));
      return true;
    },
    up({ pointerId }) {
      fingers.delete(pointerId);
      if (pointerId === pen) pen = null;
    },
  };
}
