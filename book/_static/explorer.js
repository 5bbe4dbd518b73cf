// The explorer: two tasks, a rank, a side and a layer, and what the records say of them.
"use strict";

const explorer = (() => {
  // A pair is kept once; read the other way round, its grids are transposed and its scores are the same.
  function entry(numbers, a, b, rank, side) {
    const kept = numbers.entries[`${a}|${b}|${rank}|${side}`];
    if (kept) return kept;
    const other = numbers.entries[`${b}|${a}|${rank}|${side}`];
    return { ...other, grids: other.grids.map((grid) => grid[0].map((_, j) => grid.map((row) => row[j]))) };
  }

  const interval = ([, low, high], digits = 3) =>
    low === null ? "" : ` [${low.toFixed(digits)}, ${high.toFixed(digits)}]`;
  const estimate = (found) => found[0].toFixed(3) + interval(found);

  // Score of each layer with its interval, and chance: the mean as a dotted line, 95 % of it shaded.
  function profile(found, layer, { width, color, label }) {
    const points = found.layers.map(([score, low, high], k) => ({ layer: k + 1, score, low, high }));
    const at = { x: "layer", y: "score", stroke: color };
    const ends = [0.5, points.length + 0.5];
    return drawing.described(
      Plot.plot({
        width,
        height: Math.min(width, 340),
        marginTop: 34,
        marginBottom: 46,
        style: drawing.STYLE,
        x: { domain: ends, ticks: points.map((d) => d.layer), tickFormat: "d", label: "layer", labelAnchor: "center", labelArrow: false },
        y: { domain: [0, 1], ticks: 5, clamp: true, label: "RepMatch", labelArrow: false },
        marks: [
          Plot.rect([found.chance_95], { x1: ends[0], x2: ends[1], y1: 0, y2: (d) => d, fill: "currentColor", fillOpacity: 0.15 }),
          Plot.ruleY([0]),
          Plot.ruleY([found.chance], { stroke: "currentColor", strokeDasharray: "2,3" }),
          Plot.line(points, { ...at, strokeWidth: 1.5 }),
          Plot.ruleX(points, { x: "layer", y1: "low", y2: "high", stroke: color, strokeWidth: 2, filter: (d) => d.low !== null }),
          Plot.dot(points, { ...at, r: 4, fill: color }),
          Plot.dot(points, { ...at, r: 9, strokeWidth: 2.5, filter: (d) => d.layer === layer }),
        ],
      }),
      label,
    );
  }

  function table(found) {
    const line = (tag, cells) => drawing.element("tr", {}, ...cells.map((text) => drawing.element(tag, {}, text)));
    const rows = found.layers.map((one, k) => {
      const { i, j, value } = subspaces.largest(found.grids[k]);
      const between = interval(one) ? [interval(one).trim()] : [];
      return line("td", [k + 1, one[0].toFixed(3), ...between, `φ(${i}, ${j}) = ${value.toFixed(3)}`]);
    });
    const between = interval(found.layers[0]) ? ["95 % interval"] : [];
    const head = line("th", ["layer", "RepMatch", ...between, "largest entry of the mean grid"]);
    for (const cell of head.children) cell.setAttribute("scope", "col");
    return drawing.element(
      "table", { class: "table" }, drawing.element("thead", {}, head), drawing.element("tbody", {}, ...rows),
    );
  }

  function start(root) {
    const kinds = JSON.parse(document.getElementById("explorer-data").textContent);
    const { element, labelled, select, fill, slider } = drawing;
    const [kind, first, second, rank] = [select(kinds.map(({ name }, k) => [k, name])), select([]), select([]), select([])];
    const side = select([["left", "left, zero start"], ["right", "right, random start"]]);
    const layer = slider(1, 1, 1);
    const shownLayer = element("span");
    const score = element("p", { class: "score", "aria-live": "polite" });
    const settings = element("p", { class: "settings" });
    const [map, curve, numbersTable] = [element("figure"), element("figure"), element("div", { class: "scrolling" })];

    const [ofKind, ofRank] = [labelled("Numbers of", kind), labelled("Rank", rank)];
    ofKind.hidden = kinds.length < 2; // nothing to choose
    root.append(
      element("div", { class: "controls" },
        ofKind, labelled("First task", first), labelled("Second task", second),
        ofRank, labelled("Side", side), labelled("Layer", layer, shownLayer)),
      score,
      element("div", { class: "panels" }, map, curve),
      element("details", {}, element("summary", {}, "The same in numbers"), numbersTable),
      settings,
    );

    function offer() {
      const { tasks, ranks, layers } = kinds[kind.value];
      ofRank.hidden = ranks.length < 2;
      const fresh = !second.value;
      fill(first, Object.entries(tasks));
      fill(second, Object.entries(tasks));
      fill(rank, ranks.map((r) => [r, r]));
      if (fresh) [second.selectedIndex, rank.value, layer.value] = [1, ranks.includes(4) ? 4 : ranks[0], layers];
      layer.max = layers;
      if (fresh) layer.value = layers;
    }

    function draw() {
      const numbers = kinds[kind.value];
      const [a, b] = [numbers.tasks[first.value], numbers.tasks[second.value]];
      const found = entry(numbers, first.value, second.value, rank.value, side.value);
      const at = Number(layer.value);
      const { i, j, value } = subspaces.largest(found.grids[at - 1]);
      const pair = first.value === second.value ? `${a} under two seeds` : `${a} and ${b}`;

      shownLayer.textContent = at;
      score.replaceChildren(
        `${pair}: RepMatch `, element("span", { class: numbers.class }, estimate(found.score)),
        `, chance ${found.chance.toFixed(3)}. Layer ${at}: `,
        element("span", { class: numbers.class }, estimate(found.layers[at - 1])), ".",
      );
      settings.textContent = numbers.settings;
      const width = Math.min(420, map.clientWidth || 340);
      map.replaceChildren(
        drawing.heatMap(found.grids[at - 1], { width, rows: `of ${a}`, columns: `of ${b}`, label: `Grid of φ(i, j) in layer ${at}, ${pair}; largest φ(${i}, ${j}), ${value.toFixed(2)}` }),
        element("figcaption", {}, `φ(i, j) in layer ${at}, mean over pairs of seeds. Framed: the largest entry, φ(${i}, ${j}) = ${value.toFixed(3)}.`),
      );
      curve.replaceChildren(
        profile(found, at, { width, color: `var(--${numbers.class})`, label: `RepMatch of ${pair} in each layer; the numbers are in the table below` }),
        element("figcaption", {}, `RepMatch of each layer${interval(found.layers[0]) && " with 95 % interval"}. Dotted: chance; shaded: 95 % of chance.`),
      );
      numbersTable.replaceChildren(table(found));
    }

    kind.addEventListener("input", offer);
    offer();
    root.querySelector(".controls").addEventListener("input", draw);
    curve.addEventListener("click", (event) => {
      const { left, width } = curve.firstChild.getBoundingClientRect();
      const [start, end] = curve.firstChild.scale("x").range;
      const share = (((event.clientX - left) / width) * curve.firstChild.viewBox.baseVal.width - start) / (end - start);
      if (share < 0 || share > 1) return;
      layer.value = Math.floor(share * layer.max) + 1;
      draw();
    });
    drawing.hideFallback();
    drawing.drawn(draw);
  }

  return { entry, start };
})();

if (typeof module === "object") module.exports = explorer;
else explorer.start(document.getElementById("explorer"));
