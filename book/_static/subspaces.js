// The measure in three dimensions: a subspace is a list of orthonormal vectors, the leading direction first.
"use strict";

const subspaces = (() => {
  const dot = (a, b) => a.reduce((sum, x, k) => sum + x * b[k], 0);

  // The first `dimension` axes, spun in their plane, tilted about the x axis, turned about the z axis; in degrees.
  function rotated({ turn, tilt, spin }, dimension = 2) {
    const [[ct, st], [ci, si], [cs, ss]] = [turn, tilt, spin].map((degrees) => {
      const radians = (degrees * Math.PI) / 180;
      return [Math.cos(radians), Math.sin(radians)];
    });
    return [
      [ct * cs - st * ci * ss, st * cs + ct * ci * ss, si * ss],
      [-ct * ss - st * ci * cs, -st * ss + ct * ci * cs, si * cs],
    ].slice(0, dimension);
  }

  // grid[i - 1][j - 1] is phi(i, j).
  function similarity(U, V) {
    return U.map((_, i) =>
      V.map((_, j) => {
        const overlaps = U.slice(0, i + 1).flatMap((u) => V.slice(0, j + 1).map((v) => dot(u, v) ** 2));
        return Math.min(1, overlaps.reduce((a, b) => a + b) / (Math.min(i, j) + 1));
      }),
    );
  }

  // Cosines of the principal angles, largest first: the singular values of the products of two lists of one or two.
  function principalCosines(U, V) {
    const products = U.map((u) => V.map((v) => dot(u, v)));
    const squares = products.flat().reduce((sum, x) => sum + x * x, 0);
    const both = U.length === 2 && V.length === 2;
    const area = both ? Math.abs(products[0][0] * products[1][1] - products[0][1] * products[1][0]) : 0;
    // (s + t)^2 = squares + 2 area and (s - t)^2 = squares - 2 area
    const [sum, difference] = [squares + 2 * area, squares - 2 * area].map((x) => Math.sqrt(Math.max(0, x)));
    const cosines = both ? [(sum + difference) / 2, (sum - difference) / 2] : [sum];
    return cosines.map((x) => Math.min(1, x));
  }

  // The entry that RepMatch picks: the largest, the first of equal ones.
  function largest(grid) {
    const entries = grid.flatMap((row, i) => row.map((value, j) => ({ i: i + 1, j: j + 1, value })));
    return entries.reduce((best, one) => (one.value > best.value + 1e-12 ? one : best));
  }

  return { dot, rotated, similarity, principalCosines, largest };
})();

if (typeof module === "object") module.exports = subspaces;
