import { UserError } from "../../../core/errors.ts";
import { openSafetensors, writeSafetensors } from "../../../core/safetensors.ts";
import { join } from "../../../core/std.ts";
import type { MambaConfig } from "../../../model/mamba/config.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { trainedParameters, withLora } from "../../../model/mamba/parameters.ts";
import { fingerprint } from "../../../model/weights/adapter.ts";
import { writeAdapterFolder } from "../../../model/weights/adapter_writer.ts";
import { openModelFolder, writeModelFolder } from "../../../model/weights/folder.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { values } from "../device_helpers.ts";
import { MINIATURE, MINIATURE2, withFolder, writeJson } from "../helpers.ts";

const REQUEST = { targets: "linear,embedding", rank: 3, alpha: 6, dropout: 0.1, rootScale: false };

/** A base folder, and the configuration of adapters beside it. */
function baseOf(dir: string, sizes: MambaConfig, targets = REQUEST.targets): MambaConfig {
  const name = join(dir, "base");
  const read = initialParameters(sizes, 3);
  writeModelFolder(name, { config: sizes, read });
  const config = withLora(sizes, { ...REQUEST, targets });
  const { lora } = config;
  if (!lora) throw new Error("no adapters");
  return { ...config, lora: { ...lora, base: { name, fingerprint: fingerprint(sizes, read) } } };
}

Deno.test("a folder of adapters is PEFT's, and reads as its base with the adapters in it", async () => {
  for (const sizes of [MINIATURE, MINIATURE2]) {
    await withFolder((dir) => {
      const config = baseOf(dir, sizes);
      const read = values(config);
      const path = join(dir, "adapter");
      writeAdapterFolder(path, { config, read });
      const json = JSON.parse(Deno.readTextFileSync(join(path, "adapter_config.json")));
      assertEquals(
        [json.peft_type, json.r, json.lora_alpha, json.lora_dropout, json.bias, json.task_type],
        ["LORA", 3, 6, 0.1, "none", "CAUSAL_LM"],
      );
      const kinds = sizes.kind === "mamba"
        ? ["embeddings", "in_proj", "x_proj", "dt_proj", "out_proj", "lm_head"]
        : ["embeddings", "in_proj", "out_proj", "lm_head"];
      assertEquals(json.target_modules, kinds);
      assertEquals(json.base_model_name_or_path, join(dir, "base"));
      using file = openSafetensors(join(path, "adapter_model.safetensors"));
      const { hiddenSize: d, paddedVocabSize: v } = sizes;
      const layer = "base_model.model.backbone.layers.0.mixer.in_proj";
      assertEquals(file.info(`${layer}.lora_A.weight`).shape, [3, d]);
      assertEquals(file.info(`${layer}.lora_B.weight`).shape[1], 3);
      const embeddings = "base_model.model.backbone.embeddings.lora_embedding";
      assertEquals(file.info(`${embeddings}_A`).shape, [3, v]);
      assertEquals(file.info(`${embeddings}_B`).shape, [d, 3]);
      // The tied head's adapter is the embedding's, turned: (r, d) and (v, r).
      const head = file.floats("base_model.model.lm_head.lora_A.weight");
      assertEquals(file.info("base_model.model.lm_head.lora_A.weight").shape, [3, d]);
      assertEquals(head[2 * d + 1], file.floats(`${embeddings}_B`)[1 * 3 + 2]);

      const folder = openModelFolder(path);
      assertEquals(folder.config.lora, undefined);
      const base = openModelFolder(join(dir, "base"));
      const name = "backbone.layers.0.mixer.out_proj.weight";
      const e = sizes.intermediateSize;
      const module = "backbone.layers.0.mixer.out_proj";
      const [a, b] = [read(`${module}.lora_A.weight`), read(`${module}.lora_B.weight`)];
      const got = folder.read(name);
      const weight = base.read(name);
      for (const [row, col] of [[0, 0], [1, e - 1], [d - 1, 2]] as const) {
        let sum = 0;
        for (let k = 0; k < 3; k++) sum += (b[row * 3 + k] ?? 0) * (a[k * e + col] ?? 0);
        assertEquals(got[row * e + col], Math.fround((weight[row * e + col] ?? NaN) + 2 * sum));
      }
      const vector = "backbone.norm_f.weight";
      assertEquals(folder.read(vector), base.read(vector));
      const { unmerged } = folder;
      assertEquals(unmerged?.config.lora, config.lora);
      for (const parameter of trainedParameters(config)) {
        assertEquals(unmerged?.read(parameter.name), read(parameter.name), parameter.name);
      }
      folder.close();
      base.close();
    });
  }
});

Deno.test("adapters as PEFT writes them are read without files of ours, and others are refused", () =>
  withFolder((dir) => {
    baseOf(dir, MINIATURE);
    const { hiddenSize: d, intermediateSize: e } = MINIATURE;
    const peft = {
      peft_type: "LORA",
      base_model_name_or_path: "../base",
      r: 2,
      lora_alpha: 8,
      lora_dropout: 0.05,
      use_rslora: true,
      target_modules: ["in_proj"],
      rank_pattern: {},
      bias: "none",
      init_lora_weights: true,
      corda_config: null,
    };
    const module = "backbone.layers.1.mixer.in_proj";
    const a = Float32Array.from({ length: 2 * d }, (_, i) => 0.01 * i - 0.1);
    const b = Float32Array.from({ length: 4 * e }, (_, i) => 0.02 * i - 0.3);
    const tensors = (names: [string, string]) => [
      { name: names[0], dtype: "F32" as const, shape: [2, d], data: a },
      { name: names[1], dtype: "F32" as const, shape: [2 * e, 2], data: b },
    ];
    const own: [string, string] = [
      `base_model.model.${module}.lora_A.weight`,
      `base_model.model.${module}.lora_B.weight`,
    ];
    let count = 0;
    const make = (changes: Record<string, unknown> = {}, names = own) => {
      const path = join(dir, `peft-${count++}`);
      Deno.mkdirSync(path);
      writeJson(path, "adapter_config.json", { ...peft, ...changes });
      writeSafetensors(join(path, "adapter_model.safetensors"), tensors(names));
      return path;
    };
    const folder = openModelFolder(make());
    const base = openModelFolder(join(dir, "base"));
    const s = 8 / Math.sqrt(2);
    const [row, col] = [5, 3];
    let sum = 0;
    for (let k = 0; k < 2; k++) sum += (b[row * 2 + k] ?? 0) * (a[k * d + col] ?? 0);
    const name = `${module}.weight`;
    const want = (base.read(name)[row * d + col] ?? NaN) + s * sum;
    assert(Math.abs((folder.read(name)[row * d + col] ?? NaN) - want) < 1e-6);
    const other = "backbone.layers.0.mixer.in_proj.weight";
    assertEquals(folder.read(other), base.read(other));
    folder.close();
    base.close();
    const refused = (message: string, changes: Record<string, unknown>, names = own) =>
      assertThrows(() => openModelFolder(make(changes, names)), UserError, message);
    refused("has the peft_type IA3", { peft_type: "IA3" });
    refused("use_dora true, and only plain LoRA is read", { use_dora: true });
    refused('rank_pattern {"x":4}', { rank_pattern: { x: 4 } });
    refused('bias "all"', { bias: "all" });
    refused("has the shape [2, ", { r: 4 });
    refused("its base org/model is not here", { base_model_name_or_path: "org/model" });
    refused("does not name its base", { base_model_name_or_path: null });
    refused("is no adapter", {}, ["base_model.model.backbone.q_proj.weight", own[1]]);
    refused('layers.0.mixer.in_proj.lora_A.weight" is missing', {}, [
      own[0],
      own[1].replace("layers.1", "layers.0"),
    ]);
    refused("its base has no matrix", {}, [
      own[0].replace("layers.1", "layers.9"),
      own[1].replace("layers.1", "layers.9"),
    ]);
  }));

Deno.test("adapters are refused beside another base than they were trained beside", () =>
  withFolder((dir) => {
    const config = baseOf(dir, MINIATURE, "in_proj");
    const path = join(dir, "adapter");
    writeAdapterFolder(path, { config, read: values(config) });
    openModelFolder(path).close();
    Deno.removeSync(join(dir, "base"), { recursive: true });
    assertThrows(() => openModelFolder(path), UserError, "is not here; put the folder there");
    // Random weights have the same norms: what differs is the convolution's bias.
    writeModelFolder(join(dir, "base"), {
      config: MINIATURE,
      read: initialParameters(MINIATURE, 4),
    });
    assertThrows(() => openModelFolder(path), UserError, "other weights than the model");
  }));
