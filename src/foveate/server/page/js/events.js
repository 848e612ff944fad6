// The server's events: changes of photographs as they happen, whoever makes them.
//
// Knows:   server-sent events, and how to connect again after the browser has given up.
// Ignores: what an event means. After each connection the server sends "hello": missed events are not
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
      else isReachable(); // which shows a notice if the server does not answer
    });
  }

  /**
   * Connect when the server answers again; if it asks for its token, the request waits until one is given.
   */
  function reconnect() {
    getServer().then(connect, () => setTimeout(reconnect, RETRY_MS));
  }

  connect();
}
