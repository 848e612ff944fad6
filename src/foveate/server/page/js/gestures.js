// Fingers on the photograph while a tool is in use: two of them zoom and move it, as without a tool.
//
// Knows:   which fingers are down, and that all fingers move the photograph once a pen is used, so that a hand
//          that rests on the screen paints nothing.
// Ignores: what the tools do.

/** viewer: its `pinch(factor, from, to)` moves the photograph from one point of the screen to another. */
export function createGestures(viewer) {
  const fingers = new Map(); // pointer id -> {x, y} of the screen
  let hasPen = false;

  const middleOf = (points) => ({
    x: points.reduce((sum, { x }) => sum + x, 0) / points.length,
    y: points.reduce((sum, { y }) => sum + y, 0) / points.length,
  });
  const spreadOf = ([a, b]) => (b ? Math.hypot(a.x - b.x, a.y - b.y) : 0);

  return {
    /** Record a pointer that goes down; return whether it moves the photograph instead of using the tool. */
    down({ pointerType, pointerId, clientX, clientY }) {
      hasPen ||= pointerType === "pen";
      if (pointerType !== "touch") return false;
      fingers.set(pointerId, { x: clientX, y: clientY });
      return hasPen || fingers.size > 1;
    },
    /** Move the photograph with the fingers; return whether it was moved. */
    move({ pointerId, clientX, clientY }) {
      if (!fingers.has(pointerId) || !(hasPen || fingers.size > 1)) return false;
      const before = [...fingers.values()];
      fingers.set(pointerId, { x: clientX, y: clientY });
      const after = [...fingers.values()];
      const factor = spreadOf(before) ? spreadOf(after) / spreadOf(before) : 1;
      viewer.pinch(factor, middleOf(before), middleOf(after));
      return true;
    },
    up({ pointerId }) {
      fingers.delete(pointerId);
    },
  };
}
