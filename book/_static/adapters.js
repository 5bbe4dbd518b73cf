// LoRA adapters read from safetensors, and RepMatch of two of them. Runs in a worker, with ml-matrix beside it.
"use strict";

const adapters = (() => {
  const BYTES = { F64: 8, F32: 4, F16: 2, BF16: 2 };
  const FACTOR = /^(.*\.(\d+)\.(.+))\.lora_([AB])(?:\.([^.]+))?\.weight$/;
  const TOWER = /decoder|vision|visual|image|video|text|language|audio|speech/;
  // What other adapters than plain LoRA keep in their files, and what they are called.
  const OTHERS = {
    lora_magnitude_vector: "a DoRA adapter, whose update is not B A",
    lora_embedding: "LoRA of embeddings, which are no matrix of a layer",
    lora_E: "an AdaLoRA adapter", lora_bias: "LoRA with trained biases", hada_: "a LoHa adapter", lokr_: "a LoKr adapter",
    ia3_: "an IA3 adapter", vera_: "a VeRA adapter", oft_: "an OFT adapter", boft_: "a BOFT adapter",
    prompt_embeddings: "a prompt, not an adapter of matrices",
  };
  // Which matrix is asked for first: the paper's choice, as the model families name it.
  const VALUE = ["value", "v_proj", "v_lin"];

  const text = (buffer) => new TextDecoder().decode(buffer);
  const bytesOf = async (file, start, end) => file.slice(start, end).arrayBuffer();

  // The tensors of a safetensors file by name: type, shape and place, without reading them.
  async function header(file, name) {
    const first = await bytesOf(file, 0, 64);
    const start = text(first);
    if (start.startsWith("PK")) throw new Error(`${name} is a PyTorch file (.bin, .pt), which may hold code: save the adapter again as safetensors, with safe_serialization=True.`);
    if (start.startsWith("version https://git-lfs")) throw new Error(`${name} is a pointer of Git LFS, not the file itself: fetch it with "git lfs pull".`);
    if (first.byteLength < 8) throw new Error(`${name} is ${first.byteLength ? "cut off" : "empty"}: copy the file again.`);
    const length = Number(new DataView(first).getBigUint64(0, true));
    if (length > 2 ** 27 || start[8] !== "{") throw new Error(`${name} is no safetensors file: give the adapter_model.safetensors that PEFT writes.`);
    if (8 + length > file.size) throw new Error(`${name} is cut off: copy the file again.`);
    let tensors;
    try {
      tensors = JSON.parse(text(await bytesOf(file, 8, 8 + length)));
    } catch {
      throw new Error(`${name} is damaged: its header cannot be read. Copy the file again.`);
    }
    delete tensors.__metadata__;
    for (const tensor of Object.values(tensors)) tensor.data_offsets = tensor.data_offsets.map((at) => at + 8 + length);
    const end = Math.max(0, ...Object.values(tensors).map((tensor) => tensor.data_offsets[1]));
    if (end > file.size) throw new Error(`${name} is cut off: ${file.size.toLocaleString("en")} bytes of ${end.toLocaleString("en")}. Copy the file again.`);
    return tensors;
  }

  // By name of a matrix within a layer: its layers in the model's order, each with both factors.
  function matrices(tensors, name) {
    const found = new Map();
    const owners = new Set();
    for (const [key, tensor] of Object.entries(tensors)) {
      const other = Object.keys(OTHERS).find((mark) => key.includes(mark));
      if (other) throw new Error(`${name} is ${OTHERS[other]}; RepMatch compares plain LoRA.`);
      const match = FACTOR.exec(key);
      if (!match && key.includes("lora_")) throw new Error(`${name} holds "${key}", which is no factor of plain LoRA in a numbered layer.`);
      if (!match) continue; // a head that was saved with the adapter
      const [, layer, , matrix, factor, owner] = match;
      owners.add(owner);
      if (owners.size > 1) throw new Error(`${name} holds several adapters, ${[...owners].join(", ")}: save one of them alone, with save_pretrained(selected_adapters=[...]).`);
      if (!(tensor.dtype in BYTES)) throw new Error(`${name} holds numbers of type ${tensor.dtype}; give float32, float16 or bfloat16.`);
      if (tensor.shape.length !== 2) throw new Error(`${name} adapts ${matrix} of layer ${layer} with a tensor of ${tensor.shape.length} dimensions, not a matrix.`);
      if (!found.has(matrix)) found.set(matrix, new Map());
      const layers = found.get(matrix);
      layers.set(layer, { ...layers.get(layer), [factor]: tensor });
    }
    if (!found.size) throw new Error(`${name} holds no LoRA factors: give an adapter's file, not a model's.`);
    for (const [matrix, layers] of found) {
      for (const [layer, { A, B }] of layers) {
        if (!A || !B) throw new Error(`${name}: ${layer} lacks one of its two factors. Save the adapter again.`);
        if (A.shape[0] !== B.shape[1]) throw new Error(`${name}: the factors of ${layer} are of rank ${A.shape[0]} and ${B.shape[1]}.`);
      }
      found.set(matrix, [...layers].map(([layer, factors]) => ({ layer, ...factors })).sort((a, b) => inOrder(a.layer, b.layer)));
    }
    return found;
  }

  const inOrder = (a, b) => a.localeCompare(b, "en", { numeric: true });
  // Where a matrix is in its model, whatever head or wrapper the model was loaded under.
  const place = (layer) => {
    const parts = layer.split(".");
    const number = parts.findIndex((part) => /^\d+$/.test(part));
    return [...parts.slice(0, number).filter((part) => TOWER.test(part)), ...parts.slice(number)].join(".");
  };

  async function numbers(file, { dtype, shape, data_offsets: [start, end] }) {
    const buffer = await bytesOf(file, start, end);
    const values = new Float64Array(shape[0] * shape[1]);
    if (buffer.byteLength !== values.length * BYTES[dtype]) throw new Error("a tensor has another size than its shape says: copy the file again.");
    if (dtype === "F64") values.set(new Float64Array(buffer));
    else if (dtype === "F32") values.set(new Float32Array(buffer));
    else {
      const half = new Uint16Array(buffer);
      const decode = dtype === "BF16" ? brain(half.length) : float16;
      for (let k = 0; k < half.length; k++) values[k] = decode(half[k]);
    }
    if (!values.every(Number.isFinite)) throw new Error("a factor holds NaN or infinity: the training that made it diverged.");
    return mlMatrix.Matrix.from1DArray(shape[0], shape[1], values);
  }

  function brain() {
    const bits = new Uint32Array(1);
    const value = new Float32Array(bits.buffer);
    return (half) => {
      bits[0] = half << 16;
      return value[0];
    };
  }

  function float16(half) {
    const [sign, exponent, fraction] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
  }

  // Singular vectors of B A: QR of both factors, SVD of the small core; directions that are not there are zero.
  function basis(A, B, side) {
    const [out, into] = [new mlMatrix.QrDecomposition(B), new mlMatrix.QrDecomposition(A.transpose())];
    const core = out.upperTriangularMatrix.mmul(into.upperTriangularMatrix.transpose());
    const svd = new mlMatrix.SingularValueDecomposition(core);
    const vectors = side === "left" ? out.orthogonalMatrix.mmul(svd.leftSingularVectors) : into.orthogonalMatrix.mmul(svd.rightSingularVectors);
    const [largest, smallest] = [svd.diagonal[0], svd.diagonal[0] * Math.sqrt(2 ** -23)];
    if (!(largest > 0)) return null;
    svd.diagonal.forEach((value, k) => value <= smallest && vectors.setColumn(k, new Array(vectors.rows).fill(0)));
    return vectors;
  }

  // grid[i - 1][j - 1] is phi(i, j), from the products of the vectors of two subspaces.
  function similarity(products) {
    const grid = products.map((row) => row.map((x) => x * x));
    grid.forEach((row, i) => row.forEach((_, j) => {
      row[j] += (j ? row[j - 1] : 0) + (i ? grid[i - 1][j] : 0) - (i && j ? grid[i - 1][j - 1] : 0);
    }));
    return grid.map((row, i) => row.map((sum, j) => Math.min(1, Math.max(0, sum / (Math.min(i, j) + 1)))));
  }

  const highest = (grid) => Math.max(...grid.map((row) => Math.max(...row)));
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  // Numbers that look random and are the same on every call.
  function generator(seed) {
    const uniform = () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
    const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    // By Marsaglia and Tsang (2000): a gamma variate of shape k / 2, doubled, is a chi-square one.
    const chi = (k) => {
      const d = k / 2 - 1 / 3;
      for (;;) {
        const x = normal();
        const v = (1 + x / Math.sqrt(9 * d)) ** 3;
        if (v > 0 && Math.log(1 - uniform()) < x * x / 2 + d - d * v + d * Math.log(v)) return Math.sqrt(2 * d * v);
      }
    };
    return { normal, chi };
  }

  // Scores of unrelated subspaces: of a layer, and the mean of so many layers. Of a random subspace only the rows that
  // meet the other one are drawn; what the rest of the width adds to its vectors' lengths is a Bartlett factor.
  function chance(width, rank, other, layers) {
    if (width < rank + other) return null;
    const { normal, chi } = generator(1);
    const draws = Math.round(Math.min(400, Math.max(20, 3e8 / (layers * Math.max(rank, other) ** 3))));
    const single = [], together = [];
    for (let draw = 0; draw < draws; draw++) {
      const scores = [];
      for (let layer = 0; layer < layers; layer++) {
        const corner = Array.from({ length: rank }, () => Array.from({ length: other }, normal));
        const rest = Array.from({ length: other }, (_, i) =>
          Array.from({ length: other }, (_, j) => (j < i ? 0 : i === j ? chi(width - rank - i) : normal())));
        scores.push(highest(similarity(orthonormal(corner, rest))));
      }
      single.push(...scores);
      together.push(mean(scores));
    }
    const quantile = (values, q) => values.sort((a, b) => a - b)[Math.floor(q * (values.length - 1))];
    return { mean: mean(together), high: quantile(together, 0.95), layer: quantile(single, 0.95) };
  }

  // The upper rows of a matrix with orthonormal columns, Gram and Schmidt's, from those of [upper; lower].
  function orthonormal(upper, lower) {
    const rows = [...upper.map((row) => [...row]), ...lower.map((row) => [...row])];
    const columns = rows[0].map((_, j) => rows.map((row) => row[j]));
    columns.forEach((column, j) => {
      for (const before of columns.slice(0, j)) {
        const along = before.reduce((sum, x, k) => sum + x * column[k], 0);
        before.forEach((x, k) => (column[k] -= along * x));
      }
      const length = Math.hypot(...column);
      column.forEach((_, k) => (column[k] /= length));
    });
    return upper.map((_, i) => columns.map((column) => column[i]));
  }

  // What both files adapt, the paper's choice first.
  async function shared(files) {
    const found = [];
    for (const { file, name } of files) found.push(matrices(await header(file, name), name));
    const names = [...found[0].keys()].filter((matrix) => found[1].has(matrix));
    if (!names.length) throw new Error(`${files[0].name} adapts ${[...found[0].keys()].join(", ")}; ${files[1].name} adapts ${[...found[1].keys()].join(", ")}: no matrix of both.`);
    const isValue = (matrix) => VALUE.some((end) => `.${matrix}`.endsWith(`.${end}`));
    names.sort((a, b) => isValue(b) - isValue(a) || a.localeCompare(b));
    return { names, found };
  }

  // RepMatch of two files: score, and of each layer its name, score and grid.
  async function compare(files, matrix, side, progress = () => {}) {
    const { names, found } = await shared(files);
    const chosen = names.includes(matrix) ? matrix : names[0];
    const [one, other] = found.map((of) => of.get(chosen));
    if (one.length !== other.length) throw new Error(`${files[0].name} has ${one.length} adapted layers, ${files[1].name} has ${other.length}: these are adapters of different models.`);
    const shape = ({ A, B }) => `${B.shape[0]} × ${A.shape[1]}`;
    const layers = [];
    for (const [k, factors] of one.entries()) {
      if (place(factors.layer) !== place(other[k].layer)) throw new Error(`Different layers are adapted: ${files[0].name} has ${factors.layer} where ${files[1].name} has ${other[k].layer}.`);
      if (shape(factors) !== shape(other[k])) throw new Error(`Widths differ: ${files[0].name} adapts matrices of ${shape(factors)}, ${files[1].name} of ${shape(other[k])}. They belong to different models.`);
      const bases = [];
      for (const [n, { A, B }] of [factors, other[k]].entries()) {
        const vectors = basis(await numbers(files[n].file, A), await numbers(files[n].file, B), side);
        if (!vectors) throw new Error(`${files[n].name} holds no update in layer ${k + 1}: B is zero, as before training.`);
        bases.push(vectors);
      }
      const grid = similarity(bases[0].transpose().mmul(bases[1]).to2DArray());
      layers.push({ name: factors.layer, score: highest(grid), grid });
      progress(k + 1, one.length);
    }
    const width = one[0][side === "left" ? "B" : "A"].shape[side === "left" ? 0 : 1];
    const [rank, otherRank] = [layers[0].grid.length, layers[0].grid[0].length];
    return { matrix: chosen, matrices: names, width, layers, score: mean(layers.map(({ score }) => score)), chance: chance(width, rank, otherRank, layers.length) };
  }

  return { header, matrices, compare, chance, similarity };
})();

if (typeof module === "object") module.exports = adapters;
if (typeof importScripts === "function") {
  onmessage = async ({ data: { id, files, matrix, side } }) => {
    try {
      const found = await adapters.compare(files, matrix, side, (done, of) => postMessage({ id, done, of }));
      postMessage({ id, found });
    } catch (error) {
      postMessage({ id, error: error.message });
    }
  };
}
