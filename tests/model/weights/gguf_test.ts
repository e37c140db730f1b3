import { GGMLQuantizationType, gguf } from "@huggingface/gguf";
import { join } from "../../../core/std.ts";
import { configOfSizes, mamba2OfSizes } from "../../../model/mamba/config.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { writeGguf } from "../../../model/weights/gguf_model.ts";
import { UserError } from "../../../core/errors.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { ROOT } from "../../shared.ts";
import { withFolder } from "../helpers.ts";

const tokenizer = Deno.readFileSync(join(ROOT, "fixtures", "tokenizer.json"));
const tokenizerJson = JSON.parse(new TextDecoder().decode(tokenizer));
const vocabSize = Object.keys(tokenizerJson.model.vocab).length + 3;
const MAMBA1 = configOfSizes({ hiddenSize: 64, layers: 2, vocabSize, timeStepRank: 5 });
const MAMBA2 = mamba2OfSizes({
  hiddenSize: 64,
  layers: 2,
  vocabSize,
  headSize: 32,
  groups: 2,
  stateSize: 16,
});

/** A tensor's values as the file has them. */
function decode(bytes: Uint8Array<ArrayBuffer>, at: number, type: number, count: number): number[] {
  const view = new DataView(bytes.buffer, at);
  if (type === GGMLQuantizationType.F32) {
    return Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true));
  }
  if (type === GGMLQuantizationType.F16) {
    return Array.from({ length: count }, (_, i) => view.getFloat16(2 * i, true));
  }
  assertEquals(type, GGMLQuantizationType.Q8_0);
  return Array.from({ length: count }, (_, i) => {
    const block = Math.floor(i / 32) * 34;
    return view.getFloat16(block, true) * view.getInt8(block + 2 + i % 32);
  });
}

for (const config of [MAMBA1, MAMBA2]) {
  for (const type of ["f32", "f16", "q8_0"] as const) {
    Deno.test(`a GGUF file of ${config.kind} in ${type} is read back by another reader`, () =>
      withFolder(async (dir) => {
        const path = join(dir, "model.gguf");
        const read = initialParameters(config, 3);
        writeGguf(path, { name: "a model", config, read, tokenizer, type });
        const file = await gguf(path, { allowLocalFile: true });
        const metadata = file.metadata as unknown as Record<string, unknown>;
        const kind = config.kind;
        assertEquals(metadata["general.architecture"], kind);
        assertEquals(metadata[`${kind}.block_count`], 2);
        assertEquals(metadata[`${kind}.ssm.inner_size`], 128);
        assertEquals(metadata[`${kind}.ssm.time_step_rank`], kind === "mamba" ? 5 : 4);
        const tokens = metadata["tokenizer.ggml.tokens"] as string[];
        assertEquals(tokens.length, config.paddedVocabSize);
        for (const [text, id] of Object.entries(tokenizerJson.model.vocab)) {
          assertEquals(tokens[Number(id)], text);
        }
        const merges = metadata["tokenizer.ggml.merges"] as string[];
        assertEquals(merges.length, tokenizerJson.model.merges.length);
        const bytes = Deno.readFileSync(path);
        const values = (name: string, shape: number[], dtype: number) => {
          const info = file.tensorInfos.find((t) => t.name === name);
          assert(info, name);
          assertEquals([info.shape.map(Number), info.dtype], [shape, dtype], name);
          const at = Number(file.tensorDataOffset) + Number(info.offset);
          return decode(bytes, at, info.dtype, shape.reduce((a, b) => a * b, 1));
        };
        const { F32, F16, Q8_0 } = GGMLQuantizationType;
        const matrices = { f32: F32, f16: F16, q8_0: Q8_0 }[type];
        const near = (got: number[], want: Float32Array, limit: number) => {
          const largest = want.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
          const worst = want.reduce((m, v, i) => Math.max(m, Math.abs(v - (got[i] ?? NaN))), 0);
          assert(worst <= limit * largest, `${worst} of ${largest}`);
        };
        // Of q8_0: half a step of 127, and the scale's own rounding to f16.
        const limit = { f32: 0, f16: 2 ** -11, q8_0: 1 / 254 + 2 ** -11 }[type];
        const layer = (name: string) => read(`backbone.layers.1.${name}`);
        const [rows] = [config.paddedVocabSize];
        near(
          values("token_embd.weight", [64, rows], matrices),
          read("backbone.embeddings.weight"),
          limit,
        );
        const inner = kind === "mamba" ? 256 : 128 + 128 + 64 + 4;
        near(
          values("blk.1.ssm_in.weight", [64, inner], matrices),
          layer("mixer.in_proj.weight"),
          limit,
        );
        const channels = kind === "mamba" ? 128 : 192;
        near(
          values("blk.1.ssm_conv1d.weight", [4, channels], F32),
          layer("mixer.conv1d.weight"),
          0,
        );
        const A = layer("mixer.A_log").map((v) => -Math.exp(v));
        near(values("blk.1.ssm_a", kind === "mamba" ? [16, 128] : [1, 4], F32), A, 0);
        if (kind === "mamba") {
          // Rows of 5 are no whole blocks.
          const other = type === "q8_0" ? F16 : matrices;
          near(
            values("blk.1.ssm_dt.weight", [5, 128], other),
            layer("mixer.dt_proj.weight"),
            2 ** -11,
          );
          near(values("blk.1.ssm_d", [128], F32), layer("mixer.D"), 0);
        } else {
          near(values("blk.1.ssm_d", [1, 4], F32), layer("mixer.D"), 0);
          near(values("blk.1.ssm_dt.bias", [4], F32), layer("mixer.dt_bias"), 0);
          near(values("blk.1.ssm_norm.weight", [64, 2], F32), layer("mixer.norm.weight"), 0);
        }
        assertEquals(file.tensorInfos.length, kind === "mamba" ? 2 + 2 * 10 : 2 + 2 * 9);
      }));
  }
}

Deno.test("writeGguf() refuses what llama.cpp does not compute", () => {
  const read = initialParameters(MAMBA2, 1);
  const write = (changes: Partial<typeof MAMBA2>) =>
    writeGguf("unused.gguf", {
      name: "a model",
      config: { ...MAMBA2, ...changes },
      read,
      tokenizer,
      type: "f32",
    });
  assertThrows(() => write({ normBeforeGate: true }), UserError, "before the gate");
  assertThrows(() => write({ timeStepLimit: [0.1, 1] }), UserError, "limits 0.1 and 1");
  assertThrows(() => write({ paddedVocabSize: 16 }), UserError, "its embedding 16 rows");
});
