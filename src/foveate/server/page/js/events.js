// The server's events: changes of photographs as they happen, whoever makes them.
//
// Knows:   server-sent events, and how to connect again after the browser has given up.
// Ignores: what an event means. After each connection the server sends "hello": what was missed is not
//          repeated.

import { getServer, isReachable } from "./api.js";

const RETRY_MS = 3000;

/** Listen for events; `handlers` has a function for each event name. */
export function listenForEvents(handlers) {
  function connect() {
    const source = new EventSource("api/events");
    for (const [name, handler] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
    }
    source.addEventListener("error", () => {
      // A connection that breaks is renewed by the browser; one that is refused is not.
      if (source.readyState === EventSource.CLOSED) setTimeout(reconnect, RETRY_MS);
      else isReachable(); // which says on the page that it is not
    });
  }

  /**
   * Connect when the server answers again; where it asks for its token, the request itself waits for that.
   */
  function reconnect() {
    getServer().then(connect, () => setTimeout(reconnect, RETRY_MS));
  }

  connect();
}
