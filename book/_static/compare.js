// The page that compares two adapters: files or recorded ones in, grid, profile, score and chance out.
"use strict";

const comparison = (() => {
  const { element, labelled, select, fill, slider } = drawing;

  // A worker from text, so that it runs in a page that is opened from a folder, too.
  function worker() {
    const source = document.getElementById("compare-worker").textContent;
    return new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  }

  function recorded(key) {
    const { name, data } = recordedAdapters[key];
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    return { name, file: new Blob([bytes]) };
  }

  // A place for one adapter: a file that is dropped or chosen, or a recorded one.
  function picker(title, changed) {
    const place = { chosen: null };
    const input = element("input", { type: "file", accept: ".safetensors" });
    const list = select([["", "recorded adapters"], ...Object.entries(recordedAdapters).map(([key, { name }]) => [key, name])]);
    const shown = element("p", { class: "chosen" }, "none yet");
    const choose = (chosen) => {
      place.chosen = chosen;
      shown.textContent = chosen?.name ?? "none yet";
      changed();
    };
    place.pick = (key) => {
      list.value = key;
      choose(recorded(key));
    };
    const take = (file) => {
      list.value = "";
      choose({ name: file.name, file });
    };
    input.addEventListener("change", () => input.files[0] && take(input.files[0]));
    list.addEventListener("input", () => choose(list.value ? recorded(list.value) : null));
    place.box = element("div", { class: "adapter", role: "group", "aria-label": title }, element("h3", {}, title),
      labelled(`File of the ${title.toLowerCase()}`, input), labelled(`Or, as the ${title.toLowerCase()}`, list), shown);
    place.box.addEventListener("dragover", (event) => event.preventDefault());
    place.box.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
    });
    return place;
  }

  const asCsv = ({ layers }) =>
    ["layer,name,score,phi_11", ...layers.map(({ name, score, grid }, k) => [k + 1, name, score, grid[0][0]].join(","))].join("\n") + "\n";

  function save(blob, name) {
    const link = element("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // The grid's and the profile's pictures beside each other, on white.
  async function asPng(svgs) {
    const images = await Promise.all([...svgs].map((svg) => new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = reject;
      const copy = svg.cloneNode(true);
      copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
      image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
    })));
    const scale = 2;
    const canvas = element("canvas", { width: scale * images.reduce((sum, { width }) => sum + width + 20, 0), height: scale * Math.max(...images.map(({ height }) => height + 20)) });
    const drawn = canvas.getContext("2d");
    drawn.scale(scale, scale);
    drawn.fillStyle = "white";
    drawn.fillRect(0, 0, canvas.width, canvas.height);
    images.reduce((x, image) => (drawn.drawImage(image, x, 10), x + image.width + 20), 10);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  function profile({ layers, chance }, at, width) {
    const points = layers.map(({ score }, k) => ({ layer: k + 1, score }));
    const ends = [0.5, points.length + 0.5];
    const place = { x: "layer", y: "score", stroke: "var(--pst-color-link)" };
    return drawing.described(
      Plot.plot({
        width, height: Math.min(width, 340), marginTop: 34, marginBottom: 46, style: drawing.STYLE,
        x: { domain: ends, ticks: Math.min(points.length, 12), tickFormat: "d", label: "layer", labelAnchor: "center", labelArrow: false },
        y: { domain: [0, 1], ticks: 5, label: "RepMatch", labelArrow: false },
        marks: [
          chance && Plot.rect([chance.layer], { x1: ends[0], x2: ends[1], y1: 0, y2: (d) => d, fill: "currentColor", fillOpacity: 0.15 }),
          Plot.ruleY([0]),
          Plot.line(points, { ...place, strokeWidth: 1.5 }),
          Plot.dot(points, { ...place, r: 3.5, fill: "var(--pst-color-link)" }),
          Plot.dot(points, { ...place, r: 8, strokeWidth: 2.5, filter: (d) => d.layer === at }),
        ],
      }),
      "RepMatch of each layer; the numbers are in the table below",
    );
  }

  function table({ layers }) {
    const line = (tag, cells) => element("tr", {}, ...cells.map((text) => element(tag, tag === "th" ? { scope: "col" } : {}, text)));
    const rows = layers.map(({ name, score, grid }, k) => line("td", [k + 1, name, score.toFixed(4), grid[0][0].toFixed(4)]));
    return element("table", { class: "table" }, element("thead", {}, line("th", ["layer", "matrix", "RepMatch", "φ(1, 1)"])), element("tbody", {}, ...rows));
  }

  function start(root) {
    const places = ["First adapter", "Second adapter"].map((title) => picker(title, compare));
    const matrix = select([]);
    const side = select([["left", "left, zero start"], ["right", "right, random start"]]);
    const layer = slider(1, 1, 1);
    const shownLayer = element("span");
    const status = element("p", { class: "score", role: "status" }, "Choose two adapters.");
    const bar = element("progress", { max: 1, value: 0, "aria-label": "Layers compared" });
    const [map, curve, numbers] = [element("figure"), element("figure"), element("div", { class: "scrolling" })];
    const [csv, png] = ["CSV", "PNG"].map((kind) => element("button", { type: "button" }, `Download as ${kind}`));
    const results = element("div", {},
      element("div", { class: "controls" }, labelled("Matrix", matrix), labelled("Side", side), labelled("Layer", layer, shownLayer)),
      element("div", { class: "panels" }, map, curve),
      element("div", { class: "presets" }, csv, png),
      element("details", {}, element("summary", {}, "The same in numbers"), numbers));
    [bar.hidden, results.hidden] = [true, true];
    root.append(element("div", { class: "panels" }, ...places.map(({ box }) => box)), status, bar, results);

    let [running, asked, found] = [null, 0, null];

    function compare() {
      running?.terminate();
      found = null;
      [bar.hidden, results.hidden] = [true, true];
      const files = places.map(({ chosen }) => chosen);
      if (!files.every(Boolean)) {
        status.textContent = "Choose two adapters.";
        return;
      }
      const id = ++asked;
      [bar.hidden, bar.value] = [false, 0];
      status.textContent = "Comparing …";
      running = worker();
      running.onerror = () => finish("The comparison stopped: there may be too little memory for these files.");
      running.onmessage = ({ data }) => {
        if (data.id !== asked) return;
        if (data.of) bar.value = data.done / data.of;
        else if (data.error) finish(data.error);
        else show(data.found);
      };
      running.postMessage({ id, files, matrix: matrix.value, side: side.value });
    }

    function finish(message) {
      bar.hidden = true;
      status.textContent = message;
      running.terminate();
    }

    function show(comparison) {
      found = comparison;
      fill(matrix, found.matrices.map((name) => [name, name]));
      matrix.value = found.matrix;
      layer.max = found.layers.length;
      if (Number(layer.value) > found.layers.length || layer.value === "1") layer.value = found.layers.length;
      results.hidden = false;
      const chance = found.chance ? `; unrelated subspaces score ${found.chance.mean.toFixed(3)}, 95 % of them below ${found.chance.high.toFixed(3)}` : "";
      finish(`RepMatch ${found.score.toFixed(4)}, the mean of ${found.layers.length} layers${chance}.`);
      draw();
    }

    function draw() {
      if (!found) return;
      const at = Number(layer.value);
      const { grid } = found.layers[at - 1];
      const { i, j, value } = subspaces.largest(grid);
      shownLayer.textContent = at;
      const width = Math.min(420, map.clientWidth || 340);
      map.replaceChildren(
        drawing.heatMap(grid, { width, rows: "of the first", columns: "of the second", label: `Grid of φ(i, j) in layer ${at}; largest φ(${i}, ${j}), ${value.toFixed(2)}` }),
        element("figcaption", {}, `φ(i, j) in layer ${at}. Framed: the largest entry, φ(${i}, ${j}) = ${value.toFixed(3)}.`));
      curve.replaceChildren(profile(found, at, width), element("figcaption", {}, "RepMatch of each layer. Shaded: 95 % of unrelated subspaces."));
      numbers.replaceChildren(table(found));
    }

    matrix.addEventListener("input", compare);
    side.addEventListener("input", compare);
    layer.addEventListener("input", draw);
    csv.addEventListener("click", () => save(new Blob([asCsv(found)], { type: "text/csv" }), "repmatch.csv"));
    png.addEventListener("click", async () => save(await asPng(results.querySelectorAll("figure svg")), "repmatch.png"));
    drawing.hideFallback();
    addEventListener("resize", draw);
    const keys = Object.keys(recordedAdapters);
    if (keys.length > 1) {
      places[0].pick(keys[0]);
      places[1].pick(keys[1]);
    }
  }

  return { start };
})();

comparison.start(document.getElementById("compare"));
