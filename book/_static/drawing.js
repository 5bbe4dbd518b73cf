// What the explorer and the playground share: elements, controls, heat maps.
"use strict";

const drawing = (() => {
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // A control under its label, and beside the label its value where the control does not show one.
  function labelled(text, control, ...value) {
    control.id = `control-${text.toLowerCase().replace(/[^a-z]+/g, "-")}`;
    return element("div", {}, element("label", { for: control.id }, text), " ", ...value, control);
  }

  function select(options) {
    const made = element("select");
    fill(made, options);
    return made;
  }

  // Options as [value, text]; what was chosen stays chosen where it is still on offer.
  function fill(control, options) {
    const before = control.value;
    control.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
    if (options.some(([value]) => String(value) === before)) control.value = before;
  }

  function slider(min, max, value, step = 1) {
    return element("input", { type: "range", min, max, step, value });
  }

  const STYLE = { background: "none", fontSize: "13px", overflow: "visible" };
  const BAND = { type: "band", tickSize: 0, tickFormat: String, labelAnchor: "center", labelArrow: false, padding: 0 };

  // A grid of phi(i, j), dark for 0 and bright for 1, with a frame around the entry that RepMatch picks.
  function heatMap(grid, { width, label, rows = "", columns = "" }) {
    const cells = grid.flatMap((row, i) => row.map((phi, j) => ({ i: i + 1, j: j + 1, phi })));
    const place = { x: "j", y: "i" };
    const written = { ...place, text: (d) => d.phi.toFixed(2), fontSize: grid.length > 4 ? 10 : 13 };
    const { i, j } = subspaces.largest(grid);
    const legible = Math.max(grid.length, grid[0].length) <= 8;
    return described(
      Plot.plot({
        width,
        aspectRatio: 1,
        style: STYLE,
        marginBottom: 46,
        marginLeft: 46,
        x: { ...BAND, label: `j ${columns}` },
        y: { ...BAND, label: `i ${rows}` },
        color: { scheme: "cividis", domain: [0, 1] },
        marks: [
          Plot.cell(cells, { ...place, fill: "phi" }),
          Plot.cell([{ i, j }], { ...place, fill: "none", stroke: "white", strokeWidth: 5, inset: 2.5 }),
          Plot.cell([{ i, j }], { ...place, fill: "none", stroke: "black", strokeWidth: 2, inset: 2.5 }),
          Plot.text(cells, { ...written, filter: (d) => legible && d.phi < 0.5, fill: "white" }),
          Plot.text(cells, { ...written, filter: (d) => legible && d.phi >= 0.5, fill: "black" }),
        ],
      }),
      label,
    );
  }

  // One image with one description; the labels that Plot gives to its parts would stand beside it.
  function described(svg, label) {
    for (const part of svg.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    return svg;
  }

  // The static figure stands in where no script runs.
  function hideFallback() {
    for (const figure of document.querySelectorAll(".fallback, .tag_fallback")) figure.hidden = true;
  }

  // Drawn now and whenever the page's width changes.
  function drawn(draw) {
    addEventListener("resize", draw);
    draw();
  }

  return { STYLE, element, labelled, select, fill, slider, heatMap, described, hideFallback, drawn };
})();
