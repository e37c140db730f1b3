/**
 * Hugging Face's transformers.js with ONNX Runtime in WebAssembly: fetched only by a command that names
 * a model in ONNX, since it takes half a gigabyte in Deno's cache. Its version is that of the lock file
 * beside this one, which such commands are started with (scripts/launch.ts). It needs no rights but to
 * read; the variant for Node.js would load native code and need all of them.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { ONNX_PACKAGES } from "../../../core/onnx_packages.ts";
import { join } from "../../../core/std.ts";

/** Numbers in rows, as the library passes them. */
export interface OnnxTensor {
  readonly dims: readonly number[];
  readonly data: ArrayLike<number>;
  dispose?(): void;
}

/** A tokenizer of the library. */
export interface OnnxTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): number[];
  readonly mask_token_id?: number | null;
  readonly model_max_length?: number;
}

/** A model of the library. */
export interface OnnxSession {
  (inputs: Record<string, OnnxTensor>): Promise<{ logits: OnnxTensor }>;
  readonly config: Readonly<Record<string, unknown>>;
  dispose(): Promise<unknown>;
}

interface FromPretrained {
  from_pretrained(id: string, options: Record<string, unknown>): Promise<OnnxSession>;
}

type TokenizerClass = new (json: unknown, config: unknown) => OnnxTokenizer;

/** The part of the library that is used. */
export interface OnnxLibrary {
  env: {
    allowRemoteModels: boolean;
    allowLocalModels: boolean;
    useBrowserCache: boolean;
    localModelPath: string;
    logLevel: number;
    fetch: (url: string | URL) => Promise<Response>;
    backends: {
      onnx: { wasm: { wasmPaths: { mjs: string; wasm: string }; numThreads: number } };
    };
  };
  LogLevel: { NONE: number };
  Tensor: new (type: "int64", data: BigInt64Array, dims: number[]) => OnnxTensor;
  PreTrainedTokenizer: TokenizerClass;
  AutoModelForMaskedLM: FromPretrained;
  AutoModelForCausalLM: FromPretrained;
}

/** The runtime's build: the one that the library itself asks for on WebAssembly. */
const BUILD = "ort-wasm-simd-threaded.asyncify";

/** What models are called within the library; its files are read from the folder that is opened. */
export const MODEL_ID = "model";

/**
 * Loads the library so that it reads `folder` and nothing else, and reaches nothing.
 * @throws {UserError} where it was not fetched.
 */
export async function openRuntime(folder: string): Promise<OnnxLibrary> {
  const [library, runtime] = ONNX_PACKAGES.map((name) => import.meta.resolve(name));
  if (!library?.startsWith("file:") || !runtime?.startsWith("file:")) {
    throw new UserError(
      `Cannot run the ONNX model ${folder}: ${ONNX_PACKAGES.join(" and ")} are not there; start ` +
        `the command with "deno task", which fetches them`,
    );
  }
  const opened = await import(new URL("transformers.web.js", library).href) as OnnxLibrary;
  const { env } = opened;
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.useBrowserCache = false;
  env.localModelPath = "/";
  // What goes wrong is thrown, too; the library would print on the terminal besides.
  env.logLevel = opened.LogLevel.NONE;
  const wasm = new URL(`${BUILD}.wasm`, runtime);
  const mjs = new URL(`${BUILD}.mjs`, runtime);
  env.backends.onnx.wasm.wasmPaths = { mjs: mjs.href, wasm: wasm.href };
  env.backends.onnx.wasm.numThreads = 1;
  env.fetch = (url) => Promise.resolve(answerFrom(folder, String(url), wasm));
  return opened;
}

/** What the library gets for a URL: the runtime's code, a file of the model, or nothing. */
function answerFrom(folder: string, url: string, wasm: URL): Response {
  const own = `/${MODEL_ID}/`;
  const inside = url.startsWith(own) && !url.includes("..") ? url.slice(own.length) : undefined;
  const place = url === wasm.href ? wasm : inside === undefined ? undefined : join(folder, inside);
  if (place === undefined) return new Response(null, { status: 404 });
  try {
    return new Response(Deno.readFileSync(place));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return new Response(null, { status: 404 });
  }
}
