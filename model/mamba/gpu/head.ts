/**
 * The tied head and the loss, in chunks of rows so that the logits of a batch never exist whole.
 * @module
 */
import { fail } from "../../../core/errors.ts";
import { crossEntropy, type Objective } from "../../../kernels/cross_entropy/cross_entropy.ts";
import type { Sizing } from "../../../kernels/device.ts";
import {
  elementBytes,
  type Matrix,
  matrixFloats,
  padded,
  PANEL,
  type Region,
  rowsOf,
  subregion,
} from "../../../kernels/layout.ts";
import { matmul } from "../../../kernels/matmul/mod.ts";
import type { Plan } from "../../../kernels/plan.ts";
import type { Workspace } from "./activations.ts";
import type { HeadAdapter } from "./low_rank.ts";

/**
 * Bytes that a chunk's logits may take, unless one panel's rows already exceed it. Every chunk adds
 * to the whole embedding's gradient, so a GPU, which is soon done with a chunk, takes larger ones.
 */
const LOGITS_BYTES = 112 << 20;
const GPU_LOGITS_BYTES = 448 << 20;

/** Buffers of the head. */
export interface Head {
  /** Rows of a chunk: a multiple of 32, or all rows. */
  chunkRows: number;
  /** (chunkRows, V) */
  logits: Region;
  /** (chunkRows, d) the chunk's rows, where there are several chunks and products copy operands. */
  hidden?: Region;
  dhidden?: Region;
}

/** How many rows the head takes at once: a multiple of 32, or all. */
export function headChunk(
  device: Sizing,
  rows: number,
  vocabulary: number,
): { chunkRows: number; chunks: number } {
  const bytesPerRow = 4 * padded(vocabulary);
  const wanted = device.variant === "gpu-tiled" ? GPU_LOGITS_BYTES : LOGITS_BYTES;
  const most = Math.min(wanted, device.bindingLimit);
  const fitting = Math.max(PANEL, Math.floor(most / bytesPerRow / PANEL) * PANEL);
  const chunks = Math.ceil(padded(rows) / fitting);
  return { chunks, chunkRows: padded(Math.ceil(padded(rows) / chunks)) };
}

/** Allocates the head's scratch for `rows` rows; `type` is that of the hidden rows. */
export function allocateHead(
  device: Sizing,
  workspace: Workspace,
  rows: number,
  vocabulary: number,
  hiddenSize: number,
  type?: "f16",
): Head {
  const { chunks, chunkRows } = headChunk(device, rows, vocabulary);
  const logits = workspace.words("logits", chunkRows * padded(vocabulary));
  // Elsewhere a chunk is a view of all rows.
  if (chunks === 1 || device.variant !== "cpu-subgroup") return { chunkRows, logits };
  return {
    chunkRows,
    logits,
    hidden: workspace.matrix("head rows", chunkRows, hiddenSize, type).region,
    dhidden: workspace.matrix("head row gradients", chunkRows, hiddenSize).region,
  };
}

/** What the head reads and writes. */
interface HeadCall {
  /** (R, d) */
  hidden: Matrix;
  /** (V, d) */
  embedding: Matrix;
  /** Of the embedding, where it has one. */
  adapter?: HeadAdapter;
  targets: Region;
  nll: Region;
  /** With these, gradients too. */
  gradients?: {
    /** One float: the loss is scale x the summed negative log-likelihood. */
    scale: Region;
    /** (R, d) set. */
    dhidden: Matrix;
    /** (V, d) added to, unless the embedding is frozen. */
    dembedding: Matrix | undefined;
    /** Terms of the loss besides the likelihood. */
    objective?: Objective;
    /** The likelihood's term alone of each row, where it is wanted. */
    plain?: Region;
  };
}

/** Appends logits = hidden . E^T, the loss of each row, and (where asked) the gradients. */
export function headPlan(plan: Plan, head: Head, call: HeadCall): void {
  const { hidden, embedding, gradients, adapter } = call;
  const { rows, cols } = hidden;
  const copied = head.hidden !== undefined;
  for (let first = 0; first < rows; first += head.chunkRows) {
    const count = Math.min(head.chunkRows, rows - first);
    const chunk = (region: Region, columns: number, type?: "f16"): Matrix => ({
      region: subregion(region, 0, elementBytes({ type }) * matrixFloats(count, columns)),
      rows: count,
      cols: columns,
      stride: padded(count),
      type,
    });
    const input = copied
      ? chunk(head.hidden ?? fail("the head has no room for hidden rows"), cols, hidden.type)
      : rowsOf(hidden, first, count);
    const logits = chunk(head.logits, embedding.rows);
    if (first > 0 && count % PANEL) {
      // Padding rows must be zero, and the chunk before left its own rows there.
      if (copied) plan.clear(input.region);
      plan.clear(logits.region);
    }
    if (copied) copyRows(plan, hidden, first, input, 0, count);
    matmul(plan, { product: "NT", a: input, b: embedding, c: logits, label: "head" });
    adapter?.forward(input, logits);
    crossEntropy(plan, {
      logits,
      targets: call.targets,
      nll: call.nll,
      firstRow: first,
      scale: gradients?.scale,
      objective: gradients?.objective,
      plain: gradients?.plain,
    });
    if (!gradients) continue;
    const { dhidden } = gradients;
    const dinput = copied
      ? chunk(head.dhidden ?? fail("the head has no room for their gradients"), cols)
      : rowsOf(dhidden, first, count);
    matmul(plan, { product: "NN", a: logits, b: embedding, c: dinput, label: "head" });
    if (gradients.dembedding) {
      matmul(plan, {
        product: "TN",
        a: logits,
        b: input,
        c: gradients.dembedding,
        accumulate: true,
        sameA: true,
        label: "head",
      });
    }
    adapter?.backward(input, logits, dinput);
    if (copied) copyRows(plan, dinput, 0, dhidden, first, count);
  }
}

/** Copies rows between panel matrices of one type: one contiguous piece per panel. */
function copyRows(
  plan: Plan,
  from: Matrix,
  fromRow: number,
  to: Matrix,
  toRow: number,
  count: number,
): void {
  const row = PANEL * elementBytes(from);
  const bytes = count * row;
  for (let panel = 0; panel < padded(from.cols) / PANEL; panel++) {
    const piece = (m: Matrix, first: number) =>
      subregion(m.region, (panel * m.stride + first) * row, bytes);
    plan.copy(piece(from, fromRow), piece(to, toRow), bytes);
  }
}
