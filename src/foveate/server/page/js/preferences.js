// Preferences that are kept in this browser: how layers are drawn, and the grader's name.
//
// Knows:   the browser's local storage. No photograph, and no name of a photograph, is ever written to it.
// Ignores: what the preferences mean.

const KEY = "foveate";

export function readPreferences() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) || {};
  } catch {
    return {};
  }
}

export function savePreferences(changes) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...readPreferences(), ...changes }));
  } catch {
    /* The browser allows no storage: the page works without it. */
  }
}
