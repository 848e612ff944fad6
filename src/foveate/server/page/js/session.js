// The session: how the page signs in with the server's token, and again if the session is lost.
//
// Knows:   the token behind # in the address, and the dialog that asks for it.
// Ignores: what is requested. Refused requests wait (api.js), so that no edit is lost.
//
// The part of an address behind # never leaves the browser. The token is taken from there at once and sent in
// a body only.

import { onSessionLost, signIn } from "./api.js";
import { byId } from "./dom.js";

/** Return the token in the page's address, and remove it from there; null if there is none. */
function takeTokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) history.replaceState(null, "", location.pathname);
  return token;
}

/** Sign in with the token in the address, if there is one, and ask for it whenever a session is lost. */
export async function startSession(onSignedIn) {
  let renewal = null; // promise of the sign-in that is under way
  let finish = () => {};

  const renew = () => {
    renewal ??= new Promise((resolve) => {
      finish = () => {
        renewal = null;
        finish = () => {};
        resolve();
        onSignedIn();
      };
    });
    if (!byId("sign-in").open) byId("sign-in").showModal();
    return renewal;
  };

  /** Sign in; return whether the server took the token. */
  async function trySignIn(token) {
    byId("sign-in-status").textContent = "";
    try {
      await signIn(token);
    } catch (error) {
      byId("sign-in-status").textContent =
        error.status === 401 ? "The token is wrong. Ask the person who runs the server." : error.message;
      return false;
    }
    byId("sign-in").close();
    finish();
    return true;
  }

  byId("sign-in-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await trySignIn(byId("token").value.trim())) byId("token").value = "";
  });
  // Escape does not close the dialog: nothing works without a session.
  byId("sign-in").addEventListener("cancel", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => {
    const token = takeTokenFromAddress();
    if (token) trySignIn(token);
  });

  onSessionLost(renew);
  const token = takeTokenFromAddress();
  if (token) await trySignIn(token);
}
