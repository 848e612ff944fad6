"use strict";
(() => {
  const RINGS = { rings: 11, line: 4, double: 4 }; // screen px below which a region is drawn as a ring
  const LINE = 1.6, HALO = 3.4, DEEPEST = 24; // line and halo in screen px; largest magnification
  const PAGE = 200; // regions listed at first
  const get = (id) => document.getElementById(id);
  const make = (tag, more = {}, ...inside) => {
    const element = Object.assign(document.createElement(tag), more);
    element.append(...inside);
    return element;
  };
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  const table = get("photographs").tBodies[0];
  const rows = [...table.rows];
  rows.forEach((row, index) => { row.index = index; });
  const panes = [...document.querySelectorAll(".pane")];
  const images = panes.map((pane) => pane.querySelector("img"));
  const canvases = panes.map((pane) => pane.querySelector("canvas"));
  const crosses = panes.map((pane) => pane.querySelector(".cross"));
  const tip = document.querySelector(".tip");

  let photograph = null; // its values, from its script
  let current = null; // its row in the table
  let selected = null; // [layer, region] selected in the list of regions
  const view = { x: 0, y: 0, scale: 1 }; // the panes' centre, photograph px; screen px per photograph px
  const off = new Set(); // codes of hidden lesions; kept when the photograph changes

  // ---- the list of photographs ----

  function sortable(tableElement, value, redraw) {
    const heads = [...tableElement.tHead.rows[0].cells];
    heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") !== "descending" && value.falls(column)
        || head.getAttribute("aria-sort") === "ascending";
      heads.forEach((cell) => cell.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      redraw(column, falling ? -1 : 1);
    }));
  }

  const names = new Intl.Collator(undefined, { numeric: true });
  const valueOf = (row, column) => {
    if (column === 1) return row.classList.contains("failed") ? 99 : Number(row.dataset.quality);
    return row.dataset.values ? Number(row.dataset.values.split(" ")[column - 2]) : -2;
  };
  const nameOf = (row) => row.querySelector(".name").textContent;
  sortable(get("photographs"), { falls: (column) => column > 0 }, (column, sign) => {
    rows.sort((a, b) => sign * (column === 0
      ? names.compare(nameOf(a), nameOf(b)) : valueOf(a, column) - valueOf(b, column))
      || a.index - b.index);
    table.append(...rows);
    updatePosition();
  });

  const filters = {
    all: () => true,
    lesions: (row) => row.dataset.values?.split(" ").some((share) => share > 0),
    quality: (row) => row.dataset.quality > 0,
    failed: (row) => row.classList.contains("failed"),
  };
  function filter() {
    const query = get("find").value.toLowerCase();
    const matches = filters[get("kind").value];
    let count = 0;
    for (const row of rows) {
      row.hidden = !(matches(row) && nameOf(row).toLowerCase().includes(query));
      count += !row.hidden;
    }
    get("matching").textContent = count === rows.length ? "" : `${count} of ${rows.length}`;
    updatePosition();
  }
  get("find").addEventListener("input", filter);
  get("kind").addEventListener("change", filter);
  get("filters").hidden = rows.length < 6;

  const viewableRows = () => rows.filter((row) => !row.hidden && row.querySelector("[data-show]"));
  function updatePosition() {
    const list = viewableRows();
    const index = list.indexOf(current);
    get("position").textContent = index < 0 ? "" : `${index + 1} / ${list.length}`;
    get("previous").disabled = index <= 0;
    get("next").disabled = index < 0 || index === list.length - 1;
  }
  function step(by) {
    const list = viewableRows();
    const row = list[list.indexOf(current) + by];
    if (row) choose(row);
  }
  get("previous").addEventListener("click", () => step(-1));
  get("next").addEventListener("click", () => step(1));
  table.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-show]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    choose(link.closest("tr"));
    get("viewer").scrollIntoView({ behavior: "smooth" });
  });

  // ---- one photograph ----

  function choose(row) {
    current?.classList.remove("chosen");
    current = row;
    row.classList.add("chosen");
    const list = get("list");
    const offset = row.offsetTop - list.scrollTop;
    if (offset < 40 || offset > list.clientHeight - 60) list.scrollTop = row.offsetTop - 60;
    history.replaceState(null, "", `#${row.index + 1}`);
    get("viewer").hidden = false;
    get("photograph-name").textContent = nameOf(row);
    get("message").textContent = "";
    photograph = selected = null;
    images.forEach((image) => {
      image.hidden = true;
      image.removeAttribute("src"); // else it is shown until the next picture has been loaded
    });
    redraw();
    updatePosition();
    const path = row.querySelector("[data-show]").dataset.show;
    const script = make("script", { src: path });
    script.row = row;
    script.onerror = () => {
      if (row === current) get("message").textContent = `${path} is missing: keep index.html together with the folders beside it.`;
    };
    document.head.append(script);
  }

  window.foveate = (script, values) => {
    script.remove();
    if (script.row !== current) return; // another photograph was chosen in the meantime
    photograph = values;
    for (const layer of photograph.lesions) {
      for (const region of layer.regions) region.path = outline(region[10]);
    }
    const base = script.row.querySelector("[data-show]");
    const photo = base.dataset.show.replace(/\.js$/, "_photo.jpg");
    images.forEach((image) => {
      image.src = photo;
      image.style.width = `${photograph.width}px`;
      image.style.height = `${photograph.height}px`;
      image.hidden = false;
    });
    images[0].onerror = () => { get("message").textContent = `${photo} is missing: keep index.html together with the folders beside it.`; };
    get("warnings").replaceChildren(...photograph.quality.map((text) => make("span", { className: "warning", textContent: text })));
    const tables = base.dataset.show.replace(/^page\//, "regions/").replace(/\.js$/, "");
    get("links").replaceChildren(...[["overlay", base.getAttribute("href")], ["CSV", `${tables}.csv`], ["JSON", `${tables}.json`]]
      .map(([text, href]) => make("a", { textContent: text, href })));
    panes.forEach((pane) => { pane.style.aspectRatio = clamp(photograph.field[2] / photograph.field[3], 0.8, 2); });
    layers();
    fit();
    list();
  };

  function outline(rings) {
    const path = new Path2D();
    for (const ring of rings) {
      let [x, y] = [ring[0] + 0.5, ring[1] + 0.5];
      path.moveTo(x, y);
      for (let i = 2; i < ring.length; i += 2) path.lineTo(x += ring[i], y += ring[i + 1]);
      path.closePath();
    }
    return path;
  }

  const swatch = (layer) => {
    const mark = make("i", { className: `swatch ${layer.style}` });
    mark.style.setProperty("--colour", layer.colour);
    return mark;
  };

  function layers() {
    get("layers").querySelectorAll("label").forEach((label) => label.remove());
    photograph.lesions.forEach((layer, number) => {
      const box = make("input", { type: "checkbox", checked: !off.has(layer.code) });
      box.addEventListener("change", () => {
        off[box.checked ? "delete" : "add"](layer.code);
        list();
        redraw();
      });
      const amount = layer.count || "none";
      get("layers").append(make("label", { title: `${layer.area} of the field; from probability ${layer.threshold} on` },
        box, swatch(layer), layer.name, make("small", { textContent: amount }), make("kbd", { textContent: number + 1 })));
    });
  }

  // ---- pan and zoom ----

  const size = () => [panes[0].clientWidth, panes[0].clientHeight];
  function photographScale() { // the scale at which the whole photograph fits the panes
    const [width, height] = size();
    return Math.min(width / photograph.width, height / photograph.height);
  }
  function fieldScale() { // the scale at which the field of view fills the panes
    const [width, height] = size();
    return Math.min(width / photograph.field[2], height / photograph.field[3]);
  }
  function fit() {
    if (!photograph) return;
    const [left, top, width, height] = photograph.field;
    Object.assign(view, { x: left + width / 2, y: top + height / 2, scale: fieldScale() });
    redraw();
  }
  function zoom(factor, x = size()[0] / 2, y = size()[1] / 2) {
    if (!photograph) return;
    const [width, height] = size();
    const scale = clamp(view.scale * factor, photographScale(), Math.max(DEEPEST, photographScale()));
    view.x += (x - width / 2) * (1 / view.scale - 1 / scale);
    view.y += (y - height / 2) * (1 / view.scale - 1 / scale);
    view.scale = scale;
    redraw();
  }
  function move(dx, dy) {
    view.x -= dx / view.scale;
    view.y -= dy / view.scale;
    redraw();
  }
  function keepInside() {
    for (const [axis, length, pane] of [["x", photograph.width, size()[0]], ["y", photograph.height, size()[1]]]) {
      const half = Math.min(length, pane / view.scale) / 2;
      view[axis] = clamp(view[axis], half, length - half);
    }
  }

  const fingers = new Map();
  const positionIn = (pane, event) => {
    const box = pane.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  panes.forEach((pane, index) => {
    pane.addEventListener("wheel", (event) => {
      if (!photograph || (event.deltaY > 0 && view.scale <= fieldScale() * 1.001)) return; // already at the smallest scale: let the page scroll
      event.preventDefault();
      zoom(Math.exp(-clamp(event.deltaY * (event.deltaMode ? 16 : 1), -200, 200) / 500), ...positionIn(pane, event));
    }, { passive: false });
    pane.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      fingers.set(event.pointerId, positionIn(pane, event));
      pane.setPointerCapture(event.pointerId);
    });
    pane.addEventListener("pointermove", (event) => {
      const now = positionIn(pane, event);
      point(index, now);
      const before = fingers.get(event.pointerId);
      if (!before || !photograph) return;
      const secondFinger = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      if (secondFinger) {
        const distance = ([x, y]) => Math.max(8, Math.hypot(x - secondFinger[0], y - secondFinger[1]));
        move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
        zoom(distance(now) / distance(before), (now[0] + secondFinger[0]) / 2, (now[1] + secondFinger[1]) / 2);
      } else {
        move(now[0] - before[0], now[1] - before[1]);
      }
      fingers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      pane.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
    pane.addEventListener("pointerleave", () => {
      crosses.forEach((cross) => { cross.style.display = "none"; });
      tip.hidden = true;
    });
    pane.addEventListener("dblclick", (event) => zoom(2, ...positionIn(pane, event)));
    pane.addEventListener("keydown", (event) => {
      const direction = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
      if (!direction || !photograph) return;
      event.preventDefault();
      move(...direction);
    });
  });
  addEventListener("keydown", (event) => {
    if (!photograph || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], select")) return;
    const number = Number(event.key);
    if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") fit();
    else if (event.key === "f") get("fill").click();
    else if (event.key === "n") step(1);
    else if (event.key === "p") step(-1);
    else if (number >= 1) get("layers").querySelectorAll("input")[number - 1]?.click();
    else return;
    event.preventDefault();
  });
  get("in").addEventListener("click", () => zoom(1.4));
  get("out").addEventListener("click", () => zoom(1 / 1.4));
  get("fit").addEventListener("click", fit);
  get("opacity").addEventListener("input", () => redraw());
  get("fill").addEventListener("change", () => redraw());
  let shape = "";
  new ResizeObserver(() => {
    const now = size().join();
    if (!photograph || now === shape) return;
    shape = now;
    fit();
  }).observe(panes[0]);

  function point(index, [x, y]) {
    const cross = crosses[1 - index];
    crosses[index].style.display = "none";
    cross.style.display = photograph ? "block" : "none";
    cross.style.left = `${x}px`;
    cross.style.top = `${y}px`;
    const [width, height] = size();
    const hit = photograph && regionAt(view.x + (x - width / 2) / view.scale, view.y + (y - height / 2) / view.scale);
    tip.hidden = !hit;
    if (!hit) return;
    const [layer, region] = hit;
    tip.textContent = `${layer.name} ${region[0]}: ${area(region)}, probability ${region[8].toFixed(2)}`;
    tip.style.left = `${clamp(x + 14, 0, Math.max(0, width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${y > height - 50 ? y - 34 : y + 16}px`;
  }
  function regionAt(x, y) {
    const reach = 4 / view.scale;
    let best = null;
    for (const layer of visible()) {
      for (const region of layer.regions) {
        const [, , , , left, top, width, height] = region;
        const inside = x > left - reach && x < left + width + reach && y > top - reach && y < top + height + reach;
        if (inside && (!best || region[1] < best[1][1])) best = [layer, region];
      }
    }
    return best;
  }

  // ---- drawing ----

  const visible = () => (photograph ? photograph.lesions.filter((layer) => !off.has(layer.code)) : []);
  let frameRequested = false;
  function redraw() {
    if (frameRequested) return;
    frameRequested = true;
    requestAnimationFrame(() => { frameRequested = false; draw(); });
  }
  function draw() {
    const [width, height] = size();
    const pixelRatio = devicePixelRatio || 1;
    const pens = canvases.map((canvas) => {
      const resolution = [Math.round(width * pixelRatio), Math.round(height * pixelRatio)];
      if (canvas.width !== resolution[0] || canvas.height !== resolution[1]) [canvas.width, canvas.height] = resolution;
      const pen = canvas.getContext("2d");
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.clearRect(0, 0, canvas.width, canvas.height);
      return pen;
    });
    if (!photograph) return;
    keepInside();
    const { scale } = view;
    const [left, top] = [width / 2 - view.x * scale, height / 2 - view.y * scale];
    images.forEach((image) => { image.style.transform = `translate(${left}px, ${top}px) scale(${scale})`; });
    panes.forEach((pane) => {
      pane.classList.toggle("zoomed", scale > fieldScale() * 1.001);
      pane.classList.toggle("coarse", scale >= 8);
    });
    get("zoom").textContent = `${Math.round(scale * 100)} %`;
    pens.forEach((pen) => pen.setTransform(pixelRatio * scale, 0, 0, pixelRatio * scale, pixelRatio * left, pixelRatio * top));
    pens[1].globalAlpha = get("opacity").value / 100;
    lesions(pens[1], [-left / scale, -top / scale, (width - left) / scale, (height - top) / scale]);
    if (selected) pens.forEach((pen) => frame(pen, selected[1]));
  }
  function lesions(pen, [west, north, east, south]) {
    const px = 1 / view.scale; // a screen px in photograph px
    const inView = visible().map((layer) => [layer, layer.regions.filter(([, , , , left, top, width, height]) =>
      left < east && left + width > west && top < south && top + height > north)]);
    for (const [layer, regions] of inView) {
      if (get("fill").checked) {
        pen.fillStyle = `${layer.colour}73`; // 45 %
        for (const region of regions) pen.fill(region.path, "evenodd");
      }
    }
    const stroke = (layer, regions, colour, width) => {
      pen.strokeStyle = colour;
      pen.lineWidth = width * px;
      for (const region of regions) pen.stroke(ring(layer, region, px) || region.path);
    };
    pen.lineJoin = "round";
    for (const [layer, regions] of inView) stroke(layer, regions, "#0009", layer.style === "double" ? HALO + 2 : HALO);
    for (const [layer, regions] of inView) {
      stroke(layer, regions, layer.colour, layer.style === "double" ? LINE + 2 : LINE);
      if (layer.style === "double") stroke(layer, regions, "#301008", 1.2);
    }
  }
  function ring(layer, region, px) {
    const [, , , , left, top, width, height] = region;
    const isPoint = region[10][0].length === 2; // the outline of a pixel, which no line shows
    if (!isPoint && Math.max(width, height) >= RINGS[layer.style] * px) return null;
    const path = new Path2D();
    path.arc(left + width / 2, top + height / 2, Math.max(Math.hypot(width, height) / 2 + 2 * px, 3.5 * px), 0, 7);
    return path;
  }
  function frame(pen, [, , , , left, top, width, height]) {
    const px = 1 / view.scale;
    const gap = 10 * px;
    const alpha = pen.globalAlpha;
    pen.globalAlpha = 1;
    pen.setLineDash([]);
    for (const [colour, line] of [["#000a", 4], ["#fff", 1.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line * px;
      pen.setLineDash([6 * px, 4 * px]);
      pen.strokeRect(left - gap, top - gap, width + 2 * gap, height + 2 * gap);
    }
    pen.setLineDash([]);
    pen.globalAlpha = alpha;
  }

  // ---- the list of regions ----

  const area = (region) => (photograph.spacing === null ? `${region[1]} px`
    : `${squareMillimetres(region[1] * photograph.spacing ** 2)} mm²`);
  const squareMillimetres = (value) => value.toFixed(Math.max(4, 1 - Math.floor(Math.log10(value)))); // as in tables.py
  let order = { column: 1, sign: -1 };
  let limit = PAGE;
  const columns = [null, 1, 8, 9, 2, 3];
  sortable(get("regions"), { falls: (column) => [1, 2, 3].includes(column) }, (column, sign) => {
    order = { column, sign };
    list();
  });
  function list() {
    const entries = visible().flatMap((layer) => layer.regions.map((region) => [layer, region]));
    const { column, sign } = order;
    const key = ([layer, region]) => (column ? region[columns[column]] : photograph.lesions.indexOf(layer) * 1e7 + region[0]);
    entries.sort((a, b) => sign * (key(a) - key(b)));
    get("regions").tBodies[0].replaceChildren(...entries.slice(0, limit).map(line));
    const total = visible().reduce((sum, layer) => sum + layer.count, 0);
    get("listed").textContent = total > entries.length ? `${total}, of which the ${entries.length} largest are listed; all are in the CSV` : `${total}`;
    get("more").hidden = entries.length <= limit;
    get("more").textContent = `Show all ${entries.length}`;
  }
  get("more").addEventListener("click", () => { limit = Infinity; list(); limit = PAGE; });
  function line([layer, region]) {
    const button = make("button", { type: "button", title: "Zoom to it" }, swatch(layer), `${layer.name} ${region[0]}`);
    button.addEventListener("click", () => show(layer, region));
    const cell = (text) => make("td", { className: "number", textContent: text });
    return make("tr", {}, make("td", {}, button), cell(area(region)), cell(region[8].toFixed(3)), cell(region[9].toFixed(3)),
      cell(region[2].toFixed(1)), cell(region[3].toFixed(1)));
  }
  function show(layer, region) {
    const [width, height] = size();
    const [, , x, y, , , regionWidth, regionHeight] = region;
    selected = [layer, region];
    const scale = Math.min(width, height) / Math.max(200, 3 * regionWidth, 3 * regionHeight); // with some retina around it
    Object.assign(view, { x, y, scale: clamp(scale, photographScale(), DEEPEST) });
    panes[1].scrollIntoView({ block: "nearest", behavior: "smooth" });
    redraw();
  }

  const start = rows.find((row) => row.index === Number(location.hash.slice(1)) - 1 && row.querySelector("[data-show]"));
  const first = start || rows.find((row) => row.querySelector("[data-show]"));
  if (first) choose(first);
})();
