/** Device memory for a batch's activations and scratch. @module */
export { Buffers as Workspace } from "../../../kernels/buffers.ts";
