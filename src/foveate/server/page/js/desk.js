// What lies on the desk: the open photograph, how its layers are drawn, what was chosen.
//
// Knows:   the state that several parts of the page share, and who wants to hear of changes.
// Ignores: elements, tiles, the server's addresses.
//
// Events: photograph (another one, or none), document (the same one, changed), layers (how they are drawn),
// levels (a threshold moves), settled (it came to rest), counts, corrections, region (chosen), tool, reference.

const PREFERENCES = "foveate";

/** What is kept in this browser: how one likes to look, and one's initials. No photograph, no name of one. */
export function preferences() {
  try {
    return JSON.parse(localStorage.getItem(PREFERENCES)) || {};
  } catch {
    return {};
  }
}

export function prefer(changes) {
  try {
    localStorage.setItem(PREFERENCES, JSON.stringify({ ...preferences(), ...changes }));
  } catch {
    /* a browser that keeps nothing: the page works all the same */
  }
}

export function newDesk() {
  const heard = new Map();
  const liked = preferences();
  const desk = {
    server: null,
    photograph: null, // as the server tells it
    counts: null, // of all levels
    lesions: [], // {code, name, colour, level, shown, opacity, style}
    active: null, // code of the lesion that brush and thresholds' keys go to
    corrections: null, // state of the corrections
    region: null, // the chosen one
    tool: "move",
    hidden: false,
    reference: null, // name of the masks that are laid beside
    author: liked.author || "",

    on(names, act) {
      for (const name of names.split(" ")) heard.set(name, [...(heard.get(name) || []), act]);
    },
    tell(name) {
      for (const act of heard.get(name) || []) act();
    },

    get result() {
      return desk.photograph?.result || null;
    },
    get spacing() {
      return desk.photograph?.spacing_mm ?? null;
    },
    get revision() {
      return desk.corrections?.revision ?? desk.result?.revision ?? 0;
    },
    lesion: (code) => desk.lesions.find((one) => one.code === code),

    /** Open a photograph; null puts the present one away. */
    open(photograph) {
      const result = photograph?.result;
      const before = new Map(desk.lesions.map((one) => [one.code, one]));
      Object.assign(desk, { photograph, counts: null, corrections: null, region: null, reference: null });
      desk.lesions = result
        ? Object.entries(result.lesions).map(([code, found]) => ({
            code,
            name: found.name,
            colour: found.colour,
            level: found.level,
            modelLevel: found.model_level,
            shown: before.get(code)?.shown ?? true,
            opacity: before.get(code)?.opacity ?? liked.opacity?.[code] ?? 0.9,
            style: before.get(code)?.style ?? liked.style ?? "outline",
          }))
        : [];
      desk.active = desk.lesion(desk.active) ? desk.active : (desk.lesions[0]?.code ?? null);
      desk.tell("photograph");
    },

    /** The server says that the open photograph changed. */
    renew(photograph) {
      const had = desk.result;
      if (!had && photograph.result) return desk.open(photograph);
      desk.photograph = photograph;
      desk.tell("document");
    },

    draw(code, changes) {
      for (const one of desk.lesions) if (code === null || one.code === code) Object.assign(one, changes);
      if (changes.style) prefer({ style: changes.style });
      if (changes.opacity) prefer({ opacity: { ...preferences().opacity, [code]: changes.opacity } });
      desk.tell("layers");
    },
    set(changes, event) {
      Object.assign(desk, changes);
      desk.tell(event);
    },
  };
  return desk;
}
