// The playground: a fixed subspace and one to turn, in space; principal angles and phi(i, j).
"use strict";

const playground = (() => {
  const { dot } = subspaces;
  const scaled = (vector, by) => vector.map((x) => x * by);
  const plus = (a, b) => a.map((x, k) => x + b[k]);
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const FIXED = { turn: 0, tilt: 0, spin: 0 };
  const COLORS = ["var(--recorded)", "var(--paper)"];

  // From [x, y, z] to [right, up, nearness], seen from `view` degrees around and a third of a right angle above.
  function seenFrom(view) {
    const [azimuth, height] = [(view * Math.PI) / 180, Math.PI / 6];
    const right = [-Math.sin(azimuth), Math.cos(azimuth), 0];
    const near = [Math.cos(azimuth) * Math.cos(height), Math.sin(azimuth) * Math.cos(height), Math.sin(height)];
    const up = cross(near, right);
    return (point) => [dot(point, right), dot(point, up), dot(point, near)];
  }

  // Half of the unit disc of a plane, on the side of `across` from the diameter `along`.
  function halfDisc(along, across) {
    return d3.range(0, 181, 4).map((degrees) => {
      const t = (degrees * Math.PI) / 180;
      return plus(scaled(along, Math.cos(t)), scaled(across, Math.sin(t)));
    });
  }

  // The line that two planes share; where they are one plane, any line of it.
  function shared(U, V) {
    const line = cross(cross(...U), cross(...V));
    const length = Math.hypot(...line);
    return length > 1e-9 ? scaled(line, 1 / length) : U[0];
  }

  // Shapes from far to near: planes as halves cut where they meet, lines and arrows over them.
  function shapes(U, V, view) {
    const seen = seenFrom(view);
    const planes = [U, V].map((basis, k) => ({ basis, k })).filter(({ basis }) => basis.length === 2);
    const cut = planes.length === 2 ? shared(U, V) : null;
    const halves = planes.flatMap(({ basis, k }) => {
      const along = cut ?? basis[0];
      const across = cross(cross(...basis), along);
      return [1, -1].map((sign) => ({
        points: halfDisc(along, scaled(across, sign)).map(seen), fill: COLORS[k], opacity: 0.35,
        depth: seen(scaled(across, sign))[2],
      }));
    });
    halves.sort((a, b) => a.depth - b.depth);
    const lines = [U, V].flatMap((basis, k) =>
      basis.length === 1 ? [{ points: [scaled(basis[0], -1), basis[0]].map(seen), stroke: COLORS[k], width: 3 }] : []);
    if (cut) lines.push({ points: [scaled(cut, -1), cut].map(seen), stroke: "currentColor", width: 1.5, dash: "5 4" });
    const arrows = [U, V].flatMap((basis, k) =>
      basis.map((vector, n) => ({
        points: [[0, 0, 0], vector].map(seen), stroke: COLORS[k], width: n ? 2 : 4,
        name: `${"uv"[k]}${"₁₂"[n]}`, lift: 0.13,
      })));
    return [...halves, ...lines, ...arrows];
  }

  function drawSpace(svg, found) {
    const size = 150;
    const path = d3.line((point) => size * point[0], (point) => -size * point[1]);
    svg.selectAll("path").data(found).join("path")
      .attr("d", ({ points, fill }) => path(points) + (fill ? "Z" : ""))
      .attr("fill", (d) => d.fill ?? "none").attr("fill-opacity", (d) => d.opacity ?? 1)
      .attr("stroke", (d) => d.stroke ?? d.fill).attr("stroke-width", (d) => d.width ?? 0.7)
      .attr("stroke-dasharray", (d) => d.dash ?? null);
    svg.selectAll("circle").data(found.filter((d) => d.name)).join("circle").attr("r", (d) => 1.5 * d.width)
      .attr("cx", (d) => size * d.points[1][0]).attr("cy", (d) => -size * d.points[1][1]).attr("fill", (d) => d.stroke);
    svg.selectAll("text").data(found.filter((d) => d.name)).join("text")
      .attr("x", (d) => size * (1 + d.lift) * d.points[1][0]).attr("y", (d) => -size * (1 + d.lift) * d.points[1][1])
      .attr("fill", (d) => d.stroke).text((d) => d.name);
  }

  function start(root) {
    const presets = JSON.parse(document.getElementById("playground-presets").textContent);
    const { element, labelled, select, slider } = drawing;
    const control = {
      turn: slider(-180, 180, 0), tilt: slider(0, 90, 0), spin: slider(-180, 180, 0), view: slider(0, 360, 0),
      fixed: select([[2, "plane"], [1, "line"]]), turned: select([[2, "plane"], [1, "line"]]),
    };
    const names = { turn: "Turn", tilt: "Tilt", spin: "Spin", view: "Viewpoint" };
    const degreesOf = Object.fromEntries(Object.keys(names).map((name) => [name, element("span")]));
    const buttons = presets.map((preset) => {
      const button = element("button", { type: "button" }, preset.name);
      button.addEventListener("click", () => set(preset));
      return button;
    });
    const space = element("figure", { class: "space" });
    const map = element("figure");
    const [score, angles] = [element("p", { class: "score", "aria-live": "polite" }), element("p")];

    root.append(
      element("div", { class: "presets", role: "group", "aria-label": "Positions to start from" }, ...buttons),
      element("div", { class: "controls" },
        labelled("Fixed, blue", control.fixed), labelled("Turned, orange", control.turned),
        ...Object.entries(names).map(([name, text]) => labelled(text, control[name], degreesOf[name]))),
      score,
      element("div", { class: "panels side-by-side" }, space, map),
      element("p", { class: "settings" },
        "Thick: the leading directions. Dashed: the line that two planes share. Drag the picture to turn and tilt. " +
        "Grid: the first i directions of the fixed against the first j of the turned; framed: the largest entry."),
      angles,
    );
    const svg = d3.select(space).append("svg").attr("viewBox", "-190 -180 380 360").attr("role", "img");

    function set(values) {
      for (const [name, input] of Object.entries(control)) if (name in values) input.value = values[name];
      draw();
    }

    function draw() {
      const at = Object.fromEntries(Object.entries(control).map(([name, input]) => [name, Number(input.value)]));
      const [U, V] = [subspaces.rotated(FIXED, at.fixed), subspaces.rotated(at, at.turned)];
      const [grid, cosines] = [subspaces.similarity(U, V), subspaces.principalCosines(U, V)];
      const { i, j, value } = subspaces.largest(grid);
      const degrees = cosines.map((x) => `${((Math.acos(x) * 180) / Math.PI).toFixed(0)}°`);
      for (const name of Object.keys(names)) degreesOf[name].textContent = `${at[name]}°`;

      score.textContent = `RepMatch of this one layer: φ(${i}, ${j}) = ${value.toFixed(2)}, the largest entry.`;
      angles.textContent =
        `Principal angles ${degrees.join(" and ")}; cosines ${cosines.map((x) => x.toFixed(2)).join(" and ")}. ` +
        `The mean of the squared cosines is the last entry, φ(${U.length}, ${V.length}) = ${grid.at(-1).at(-1).toFixed(2)}.`;
      svg.attr("aria-label", `A fixed ${at.fixed === 2 ? "plane" : "line"} and a turned ${at.turned === 2 ? "plane" : "line"}; principal angles ${degrees.join(" and ")}`);
      drawSpace(svg, shapes(U, V, at.view));
      map.replaceChildren(
        drawing.heatMap(grid, { width: Math.min(320, map.clientWidth || 160), rows: "of the fixed", columns: "of the turned", label: `Grid of φ(i, j); largest φ(${i}, ${j}), ${value.toFixed(2)}` }),
      );
    }

    root.querySelector(".controls").addEventListener("input", draw);
    svg.node().addEventListener("pointerdown", (event) => svg.node().setPointerCapture(event.pointerId));
    svg.node().addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      const turn = ((Number(control.turn.value) + event.movementX + 540) % 360) - 180;
      set({ turn, tilt: Number(control.tilt.value) - event.movementY / 2 });
    });
    drawing.hideFallback();
    set(presets[0]);
    drawing.drawn(draw);
  }

  return { start };
})();

playground.start(document.getElementById("playground"));
