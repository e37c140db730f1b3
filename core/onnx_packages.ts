/** The packages that run models in ONNX, which only the commands that name one fetch. @module */

/** Hugging Face's library and its runtime; `deno task onnx-lock` puts them into the lock. */
export const ONNX_PACKAGES = [
  "npm:@huggingface/transformers@4.3.1",
  "npm:onnxruntime-web@1.31.0-dev.20260914-8d85527a0",
] as const;

/** The lock file of those commands, within the program's folder. */
export const ONNX_LOCK = "model/tasks/onnx/deno.lock";

/** Variables that the library reads. */
export const ONNX_VARIABLES = ["TESTING_REMOTELY"];
