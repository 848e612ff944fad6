// The list of photographs: dropped, waiting, looked at, done; sorted for triage.
//
// Knows:   how files and folders are dropped, and what a line of the list says.
// Ignores: what is shown of the photograph that is open.

import * as api from "./api.js";
import { confirmed, failure, get, make, say, settled } from "./dom.js";

const AT_ONCE = 2; // uploads
const LIMIT = 1000;
const READABLE = /\.(jpe?g|jpe|png|tiff?)$/i; // in folders, everything else is passed over
const ORDERS = [
  ["submitted", "Latest first", { sort: "submitted", order: "desc" }],
  ["burden", "Burden, highest first", { sort: "burden", order: "desc" }],
  ["count", "Regions, most first", { sort: "count", order: "desc" }],
  ["name", "Name", { sort: "name", order: "asc" }],
];

export function queue(desk, { sortedBy = "submitted" } = {}) {
  const lines = new Map(); // id -> the photograph as last told
  let order = []; // ids
  let uploads = []; // {name, state, file, batch}
  let sending = 0;
  let going = 0; // counts what was asked to be opened: the last one is

  get("order").replaceChildren(
    ...ORDERS.map(([value, text]) => make("option", { value, selected: value === sortedBy }, text)),
  );

  async function read() {
    const [, , asked] = ORDERS.find(([value]) => value === get("order").value);
    try {
      const { photographs, total } = await api.photographs({ ...asked, limit: LIMIT });
      lines.clear();
      for (const one of photographs) lines.set(one.id, one);
      order = photographs.map(({ id }) => id);
      const open = lines.get(desk.photograph?.id); // events are lost while a server is down
      if (open) desk.renew(open);
      show();
      if (total > LIMIT) say(`${total} photographs; the list shows ${LIMIT}.`);
    } catch (refusal) {
      say(refusal.message);
    }
  }
  const readSoon = settled(400, read);

  function show() {
    const focused = document.activeElement?.closest?.("#photographs li")?.dataset.id;
    get("photographs").replaceChildren(...uploads.map(upload), ...order.map((id) => line(lines.get(id))));
    head();
    if (focused)
      get("photographs").querySelector(`[data-id="${focused}"] button`)?.focus({ preventScroll: true });
  }

  function head() {
    get("none").hidden = Boolean(order.length || uploads.length);
    const under =
      order.map((id) => lines.get(id)).filter(({ state }) => state === "queued" || state === "looking")
        .length + uploads.filter(({ error }) => !error).length;
    get("waiting").textContent = under ? `${under} under way` : order.length ? String(order.length) : "";
    turn();
  }

  function upload(one) {
    return make(
      "li",
      { class: one.error ? "failed" : "" },
      make(
        "div",
        { class: "card" },
        make("i", { class: "thumb" }),
        make(
          "span",
          { class: "text" },
          make("span", { class: "name" }, one.name),
          make("span", { class: "small faint" }, one.error || one.state),
        ),
        one.error
          ? make(
              "button",
              {
                type: "button",
                class: "plain",
                "aria-label": `Put ${one.name} away`,
                onclick: () => {
                  uploads = uploads.filter((other) => other !== one);
                  show();
                },
              },
              "×",
            )
          : null,
      ),
    );
  }

  function line(one) {
    const open = desk.photograph?.id === one.id;
    return make(
      "li",
      { "data-id": one.id, class: `${one.state} ${open ? "open" : ""}` },
      make(
        "div",
        { class: "card" },
        make(
          "button",
          {
            type: "button",
            class: "choose",
            "aria-current": open ? "true" : null,
            onclick: () => go(one.id),
          },
          make("img", {
            class: "thumb",
            src: api.address.thumbnail(one.id),
            alt: "",
            loading: "lazy",
            width: 60,
            height: 44,
          }),
          make(
            "span",
            { class: "text" },
            make(
              "span",
              { class: "name" },
              one.name,
              one.reviewed ? make("span", { class: "seen", title: "Reviewed" }, " ✓") : null,
            ),
            said(one),
          ),
        ),
        make(
          "button",
          {
            type: "button",
            class: "plain away",
            "aria-label": `Delete ${one.name}`,
            title: "Delete",
            onclick: () => remove(one),
          },
          "×",
        ),
      ),
    );
  }

  function said(one) {
    if (one.state === "failed")
      return make("span", { class: "small bad", title: failure(one) }, failure(one));
    if (one.state === "queued")
      return make(
        "span",
        { class: "small faint" },
        one.position ? `Waiting, place ${one.position}` : "Waiting",
      );
    if (one.state === "looking") {
      return make(
        "span",
        { class: "small faint" },
        "Looking ",
        make("progress", { max: 1, value: one.progress, "aria-label": `Progress of ${one.name}` }),
      );
    }
    const found = Object.entries(one.result.lesions).filter(([, { count }]) => count > 0);
    return make(
      "span",
      { class: "small chips" },
      ...(found.length
        ? found.map(([code, { count, colour }]) =>
            make(
              "span",
              { class: "chip", colour: `rgb(${colour})` },
              make("i", { class: "swatch small" }),
              `${code} ${count}`,
            ),
          )
        : [make("span", { class: "faint" }, "Nothing found")]),
    );
  }

  async function remove(one) {
    if (
      !(await confirmed(
        `Delete ${one.name}, with its result and corrections? It is gone from the disk.`,
        "Delete",
      ))
    )
      return;
    try {
      await api.remove(one.id);
      gone(one.id);
    } catch (refusal) {
      say(refusal.message);
    }
  }

  function gone(id) {
    const at = order.indexOf(id);
    order = order.filter((other) => other !== id);
    lines.delete(id);
    if (desk.photograph?.id === id) go(order[Math.min(at, order.length - 1)] || null);
    show();
  }

  /** Open a photograph, and name it in the address, so that it is found again after a reload. */
  async function go(id) {
    const mine = ++going;
    if (location.hash.slice(1) !== (id || ""))
      history.replaceState(null, "", id ? `#${id}` : location.pathname);
    if (!id) {
      desk.open(null);
      return show();
    }
    try {
      const photograph = await api.photograph(id);
      if (mine !== going) return;
      lines.set(id, photograph);
      desk.open(photograph);
      show();
    } catch (refusal) {
      if (mine !== going) return; // another one was asked for meanwhile
      say(refusal.status === 404 ? "That photograph is not here any more." : refusal.message);
      if (refusal.status === 404) {
        const open = desk.photograph?.id; // the address names what is shown
        history.replaceState(null, "", open && open !== id ? `#${open}` : location.pathname);
      }
    }
  }

  function turn() {
    const at = order.indexOf(desk.photograph?.id);
    get("previous").disabled = at <= 0;
    get("next").disabled = at < 0 || at >= order.length - 1;
    get("place").textContent =
      at < 0
        ? desk.photograph
          ? desk.photograph.name
          : "No photograph"
        : `${desk.photograph.name} · ${at + 1} of ${order.length}`;
  }

  const step = (by) => {
    const next = order[order.indexOf(desk.photograph?.id) + by];
    if (next) go(next);
  };

  // ---- dropping ----

  async function take(files) {
    const photographs = files.filter(
      ({ name, size }) => size > 0 && (files.length === 1 || READABLE.test(name)),
    );
    if (!photographs.length)
      return say("No photographs among these files: JPEG, PNG and TIFF are read.");
    const passed = files.length - photographs.length;
    if (passed) say(`${passed} other files were passed over.`);
    let batch = null;
    if (photographs.length > 1) {
      batch = await api
        .newBatch(
          `${new Date().toISOString().slice(0, 16).replace("T", " ")}, ${photographs.length} photographs`,
        )
        .then(
          ({ id }) => id,
          () => null,
        );
    }
    uploads.push(
      ...photographs.map((file) => ({ name: file.name, file, batch, state: "To be sent", waiting: true })),
    );
    show();
    send();
  }

  function send() {
    while (sending < AT_ONCE) {
      const one = uploads.find(({ waiting }) => waiting);
      if (!one) return;
      Object.assign(one, { waiting: false, state: "Sending" });
      sending++;
      api
        .submit(one.file, one.batch, () => {
          one.state = "The queue is full; waiting";
          show();
        })
        .then(
          (photograph) => {
            uploads = uploads.filter((other) => other !== one);
            heard(photograph, { first: true });
            if (!desk.photograph) go(photograph.id);
          },
          (refusal) => {
            one.error = refusal.message;
            one.file = null;
          },
        )
        .finally(() => {
          sending--;
          show();
          send();
        });
    }
  }

  async function within(entry) {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader(),
      found = [];
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) break;
      for (const one of some) found.push(...(await within(one)));
    }
    return found;
  }

  async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = entries.length ? (await Promise.all(entries.map(within))).flat() : [...transfer.files];
    await take(files);
  }

  const holdsFiles = (event) => [...event.dataTransfer.types].includes("Files");
  let over = 0;
  window.addEventListener("dragenter", (event) => {
    if (holdsFiles(event)) {
      over++;
      document.body.classList.add("dropping");
    }
  });
  window.addEventListener("dragleave", (event) => {
    if (holdsFiles(event) && --over <= 0) document.body.classList.remove("dropping");
  });
  window.addEventListener("dragover", (event) => {
    if (holdsFiles(event)) event.preventDefault();
  });
  window.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    over = 0;
    document.body.classList.remove("dropping");
    dropped(event.dataTransfer).catch(() => say("What was dropped cannot be read."));
  });
  for (const id of ["files", "folder"]) {
    get(id).addEventListener("change", () => {
      take([...get(id).files]);
      get(id).value = "";
    });
  }

  // ---- events of the server ----

  function heard(photograph, { first = false } = {}) {
    const known = lines.has(photograph.id);
    lines.set(photograph.id, photograph);
    if (!known && !order.includes(photograph.id)) order.unshift(photograph.id);
    if (desk.photograph?.id === photograph.id) desk.renew(photograph);
    const old = get("photographs").querySelector(`[data-id="${photograph.id}"]`);
    if (known && old && !old.contains(document.activeElement)) {
      old.replaceWith(line(photograph)); // of a thousand lines, one
      head();
    } else show();
    if (!first && photograph.state === "done" && get("order").value !== "submitted") readSoon();
  }

  const on = {
    hello: read,
    photograph: heard,
    progress({ id, progress }) {
      const one = lines.get(id);
      if (!one) return;
      one.progress = progress;
      const bar = get("photographs").querySelector(`[data-id="${id}"] progress`);
      if (bar) bar.value = progress;
      if (desk.photograph?.id === id) desk.tell("progress");
    },
    deleted: ({ id }) => gone(id),
  };

  get("order").addEventListener("change", read);
  get("previous").addEventListener("click", () => step(-1));
  get("next").addEventListener("click", () => step(1));
  desk.on("photograph document", turn);
  window.addEventListener("hashchange", () => go(location.hash.slice(1) || null));
  turn();

  return { on, go, step, read, progress: (id) => lines.get(id)?.progress ?? 0 };
}
