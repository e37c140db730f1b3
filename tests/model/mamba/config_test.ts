import { UserError } from "../../../core/errors.ts";
import {
  huggingFaceConfig,
  parseConfig,
  presetConfig,
  PRESETS,
} from "../../../model/mamba/config.ts";
import { parameterCount } from "../../../model/mamba/parameters.ts";
import { assertEquals, assertThrows } from "../../assert.ts";

Deno.test("presetConfig() gives the published parameter counts", () => {
  // Counts of the published checkpoints, tied head counted once.
  const published: Record<string, number> = {
    "mamba-130m": 129135360,
    "mamba-370m": 371516416,
    "mamba-790m": 793204224,
    "mamba-1.4b": 1372178432,
    "mamba-2.8b": 2768345600,
  };
  for (const [name, count] of Object.entries(published)) {
    assertEquals(parameterCount(presetConfig(name)), count, name);
  }
  assertEquals(PRESETS.includes("tiny") && PRESETS.includes("small"), true);
  assertThrows(() => presetConfig("mamba-7b"), UserError, "mamba-130m");
  assertThrows(() => presetConfig("constructor"), UserError, "Unknown preset");
});

Deno.test("parseConfig() reads the state-spaces layout", () => {
  const config = parseConfig({
    d_model: 768,
    n_layer: 24,
    vocab_size: 50277,
    ssm_cfg: {},
    rms_norm: true,
    residual_in_fp32: true,
    fused_add_norm: true,
    pad_vocab_size_multiple: 8,
  }, "config.json");
  assertEquals(config, presetConfig("mamba-130m"));
});

Deno.test("parseConfig() reads back what huggingFaceConfig() writes", () => {
  for (const name of PRESETS) {
    const config = { ...presetConfig(name), endOfText: 7, normEpsilon: 1e-6 };
    const json = JSON.parse(JSON.stringify(huggingFaceConfig(config)));
    assertEquals(parseConfig(json, "config.json"), config);
    assertEquals(json.use_bias, false);
    assertEquals(json.vocab_size, 50280);
  }
});

Deno.test("parseConfig() refuses what it does not compute, naming file and key", () => {
  const good = huggingFaceConfig(presetConfig("tiny"));
  const cases: [Record<string, unknown>, string][] = [
    [{ ...good, model_type: "mamba2" }, "it is a Mamba-2 model"],
    [{ d_model: 64, n_layer: 2, vocab_size: 8, ssm_cfg: { layer: "Mamba2" } }, "Mamba-2"],
    [{ ...good, model_type: "llama" }, 'model_type is "llama"'],
    [{ ...good, use_bias: true }, "a/config.json: use_bias is true, it must be false"],
    [{ ...good, tie_word_embeddings: false }, "tie_word_embeddings"],
    [{ ...good, hidden_size: "64" }, 'hidden_size is "64"'],
    [{ ...good, num_hidden_layers: 0 }, "num_hidden_layers is 0"],
    [{ ...good, vocab_size: undefined }, "vocab_size is missing"],
    [{ ...good, layer_norm_epsilon: 0 }, "layer_norm_epsilon"],
    [{ ...good, eos_token_id: 60000 }, "eos_token_id is 60000"],
    [{ d_model: 64, n_layer: 2, vocab_size: 8, ssm_cfg: { d_state: -1 } }, "ssm_cfg.d_state is -1"],
    [{ d_model: 64, n_layer: 2, vocab_size: 8, attn_layer_idx: [1] }, "attention layers"],
    [{}, "neither d_model nor hidden_size"],
  ];
  for (const [json, message] of cases) {
    assertThrows(() => parseConfig(json, "a/config.json"), UserError, message);
  }
  assertThrows(() => parseConfig([], "a/config.json"), UserError, "not a JSON object");
});
