import { UserError } from "../../../core/errors.ts";
import { mamba2OfSizes, presetConfig, PRESETS } from "../../../model/mamba/config.ts";
import {
  huggingFaceConfig,
  parseConfig,
  stateSpacesConfig,
} from "../../../model/mamba/config_file.ts";
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
    assertEquals(json.vocab_size, config.paddedVocabSize);
  }
});

Deno.test("parseConfig() reads back what stateSpacesConfig() writes", () => {
  for (const name of PRESETS) {
    const config = presetConfig(name);
    const json = JSON.parse(JSON.stringify(stateSpacesConfig(config)));
    assertEquals(parseConfig(json, "config.json"), config);
  }
});

Deno.test("parseConfig() reads a Mamba-2 model as published, and every way to say infinity", () => {
  const published = {
    d_model: 768,
    d_intermediate: 0,
    n_layer: 24,
    vocab_size: 50277,
    ssm_cfg: { layer: "Mamba2" },
    attn_layer_idx: [],
    attn_cfg: {},
    rms_norm: true,
    residual_in_fp32: true,
    fused_add_norm: true,
    pad_vocab_size_multiple: 16,
    tie_embeddings: true,
  };
  const config = presetConfig("mamba2-130m");
  assertEquals(parseConfig(published, "config.json"), config);
  // (2 e + 2 n + heads) d of in_proj, 50,288 rows of the embedding, and so on.
  assertEquals(parameterCount(config), 128_989_632);
  const good = huggingFaceConfig(config);
  for (const most of ["inf", "Infinity", null, { __float__: "Infinity" }, 3.4028234663852886e38]) {
    const json = { ...good, time_step_limit: [0, most] };
    assertEquals(parseConfig(json, "config.json"), config);
  }
  const limited = { ...mamba2OfSizes({ hiddenSize: 64, layers: 1, vocabSize: 16 }) };
  limited.timeStepLimit = [0.01, Infinity];
  limited.normBeforeGate = true;
  for (const json of [huggingFaceConfig(limited), stateSpacesConfig(limited)]) {
    const { initializerRange } = limited;
    const back = parseConfig(JSON.parse(JSON.stringify(json)), "config.json");
    assertEquals({ ...back, initializerRange }, limited);
  }
});

Deno.test("parseConfig() refuses what it does not compute, naming file and key", () => {
  const good = huggingFaceConfig(presetConfig("tiny"));
  const good2 = huggingFaceConfig(presetConfig("tiny2"));
  const spaces = (ssm: Record<string, unknown>) => ({
    d_model: 64,
    n_layer: 2,
    vocab_size: 8,
    ssm_cfg: ssm,
  });
  const cases: [Record<string, unknown>, string][] = [
    [{ ...good, model_type: "mamba2" }, 'model_type is "mamba2", but architectures[0] is "Mamba'],
    [{ ...good, model_type: "mamba3", architectures: undefined }, 'model_type is "mamba3"'],
    [spaces({ layer: "Mamba3" }), 'ssm_cfg.layer is "Mamba3"'],
    [spaces({ layer: "Mamba2", headdim: 48 }), "ssm_cfg.headdim is 48"],
    [spaces({ layer: "Mamba2", ngroups: 3 }), "ssm_cfg.ngroups is 3"],
    [spaces({ layer: "Mamba2", chunk_size: 0 }), "ssm_cfg.chunk_size is 0"],
    [spaces({ layer: "Mamba2", D_has_hdim: true }), "ssm_cfg.D_has_hdim is true"],
    [spaces({ layer: "Mamba2", dt_limit: [0.1] }), "ssm_cfg.dt_limit is [0.1]"],
    [{ ...good2, num_heads: 3 }, "num_heads is 3"],
    [{ ...good2, n_groups: 3 }, "n_groups is 3"],
    [{ ...good2, chunk_size: 0 }, "chunk_size is 0"],
    [{ ...good2, rms_norm: false }, "rms_norm is false"],
    [{ ...good, model_type: "llama" }, 'model_type is "llama"'],
    [{ ...good, use_bias: true }, "a/config.json: use_bias is true, it must be false"],
    [{ ...good, tie_word_embeddings: false }, "tie_word_embeddings"],
    [{ ...good, hidden_size: "64" }, 'hidden_size is "64"'],
    [{ ...good, num_hidden_layers: 0 }, "num_hidden_layers is 0"],
    [{ ...good, vocab_size: undefined }, "vocab_size is missing"],
    [{ ...good, layer_norm_epsilon: 0 }, "layer_norm_epsilon"],
    [{ ...good, eos_token_id: 60000 }, "eos_token_id is 60000"],
    [{ d_model: 64, n_layer: 2, vocab_size: 8, ssm_cfg: { d_state: -1 } }, "ssm_cfg.d_state is -1"],
    [{ d_model: 64, n_layer: 2, vocab_size: 8, attn_layer_idx: [1] }, "attn_layer_idx is [1]"],
    [{}, "neither d_model nor hidden_size"],
  ];
  for (const [json, message] of cases) {
    assertThrows(() => parseConfig(json, "a/config.json"), UserError, message);
  }
  assertThrows(() => parseConfig([], "a/config.json"), UserError, "not a JSON object");
});
