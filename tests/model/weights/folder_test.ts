import { UserError } from "../../../core/errors.ts";
import { exists } from "../../../core/files.ts";
import {
  openSafetensors,
  type TensorToWrite,
  writeSafetensors,
} from "../../../core/safetensors.ts";
import { join } from "../../../core/std.ts";
import { huggingFaceConfig } from "../../../model/mamba/config_file.ts";
import { openModelFolder, writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { EMBEDDING, parameterList } from "../../../model/mamba/parameters.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { SHARED, sharedTest } from "../../shared.ts";
import { openPytorchFile } from "../../../model/weights/pytorch_file.ts";
import { MINIATURE, MINIATURE2, withFolder, writeJson } from "../helpers.ts";

const tokenizer = new TextEncoder().encode(JSON.stringify({
  added_tokens: [{ id: 0, content: "<|endoftext|>" }],
  model: { type: "BPE", vocab: { a: 1, b: 20 } },
}));
const read = initialParameters(MINIATURE, 1);
const tensors = (): TensorToWrite[] =>
  parameterList(MINIATURE).map(({ name, shape }) => ({
    name,
    shape,
    dtype: "F32",
    data: read(name),
  }));

function loadAll(path: string): Map<string, Float32Array> {
  const folder = openModelFolder(path);
  try {
    return new Map(parameterList(folder.config).map((p) => [p.name, folder.read(p.name)]));
  } finally {
    folder.close();
  }
}

Deno.test("writeModelFolder() and openModelFolder() round-trip bit for bit", () =>
  withFolder((dir) => {
    for (const maxShardBytes of [undefined, 3000]) {
      const path = join(dir, `model-${maxShardBytes}`);
      writeModelFolder(path, { config: MINIATURE, read, tokenizer, card: "# A", maxShardBytes });
      for (const [name, values] of loadAll(path)) assertEquals(values, read(name), name);
      const folder = openModelFolder(path);
      folder.close();
      assertEquals(folder.config, MINIATURE);
      assertEquals(Deno.readFileSync(folder.tokenizerFile!), tokenizer);
    }
    const plain = [...Deno.readDirSync(join(dir, "model-undefined"))].map((e) => e.name).sort();
    assertEquals(plain, [
      "README.md",
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const file = openSafetensors(join(dir, "model-undefined", "model.safetensors"));
    assertEquals(file.metadata, { format: "pt" });
    assert(!file.tensors.has("lm_head.weight"));
    file.close();
    assert(exists(join(dir, "model-3000", "model.safetensors.index.json")));
  }));

Deno.test("writeModelFolder() leaves nothing when it fails, and overwrites nothing", () =>
  withFolder((dir) => {
    const path = join(dir, "model");
    const broken = () => {
      throw new UserError("no values");
    };
    assertThrows(() => writeModelFolder(path, { config: MINIATURE, read: broken }), UserError);
    assertEquals([...Deno.readDirSync(dir)], []);
    writeModelFolder(path, { config: MINIATURE, read });
    assertThrows(
      () => writeModelFolder(path, { config: MINIATURE, read }),
      UserError,
      "it holds",
    );
  }));

Deno.test("openModelFolder() upcasts F16 and BF16 exactly, and takes a tied head", () =>
  withFolder((dir) => {
    writeJson(dir, "config.json", huggingFaceConfig(MINIATURE));
    const half = (values: Float32Array) => Float16Array.from(values);
    const upper = (values: Float32Array) =>
      Uint16Array.from(new Uint32Array(values.slice().buffer), (w) => w >>> 16);
    const list: TensorToWrite[] = tensors().map((t, i) => ({
      ...t,
      dtype: i % 2 ? "F16" : "BF16",
      data: (i % 2 ? half : upper)(t.data as Float32Array),
    }));
    list.push({ ...list[0]!, name: "lm_head.weight" });
    writeSafetensors(join(dir, "model.safetensors"), list);
    for (const [name, values] of loadAll(dir)) {
      const exact = read(name);
      const limit = 2 ** -7; // BF16 is cut, not rounded
      assert(values.every((v, i) => Math.abs(v - exact[i]!) <= limit * Math.abs(exact[i]!) + 1e-7));
    }
  }));

Deno.test("openModelFolder() names the file, the tensor, what it expected and what it found", () =>
  withFolder((dir) => {
    writeJson(dir, "config.json", huggingFaceConfig(MINIATURE));
    const file = join(dir, "model.safetensors");
    const fails = (list: TensorToWrite[], ...parts: string[]) => {
      writeSafetensors(file, list);
      for (const part of [file, ...parts]) assertThrows(() => loadAll(dir), UserError, part);
    };
    const name = "backbone.layers.1.mixer.D";
    const change = (patch: Partial<TensorToWrite>) =>
      tensors().map((t) => t.name === name ? { ...t, ...patch } : t);
    fails(tensors().filter((t) => t.name !== name), `"${name}" [20] is missing`);
    fails(change({ name: "backbone.layers.1.mixer.d" }), "is missing", "mixer.d");
    fails(change({ shape: [4, 5] }), `"${name}" has the shape [4, 5]`, "makes it [20]");
    fails(change({ dtype: "I32", data: new Int32Array(20) }), `"${name}" has the type I32`);
    fails(
      change({ data: new Float32Array(20).fill(NaN, 3) }),
      `value 3 of tensor "${name}" is NaN`,
    );
    fails([...tensors(), { ...tensors()[1]!, name: "extra" }], '"extra" is not one of');
    const head = { ...tensors()[0]!, name: "lm_head.weight", data: new Float32Array(240).fill(1) };
    fails([...tensors(), head], 'tensor "lm_head.weight" is 1', "untied head");
    Deno.writeFileSync(file, Deno.readFileSync(file).subarray(0, 2000));
    assertThrows(() => loadAll(dir), UserError, file);
    Deno.removeSync(file);
    assertThrows(() => loadAll(dir), UserError, "has no model.safetensors");
    writeJson(dir, "model.safetensors.index.json", { weight_map: { [name]: "gone.safetensors" } });
    assertThrows(() => loadAll(dir), UserError, "gone.safetensors");
    Deno.removeSync(join(dir, "config.json"));
    assertThrows(() => loadAll(dir), UserError, "has no config.json");
    assertThrows(() => loadAll(join(dir, "nowhere")), UserError, "no such folder");
  }));

for (const model of ["m1a", "m1b"]) {
  sharedTest(
    "goldens",
    `openModelFolder() loads both layouts of ${model} equally`,
    () =>
      withFolder((dir) => {
        const layouts = ["", "_hf"].map((suffix) => {
          const path = join(dir, `model${suffix}`);
          Deno.mkdirSync(path);
          const weights = join(SHARED, "goldens", `${model}_weights${suffix}.safetensors`);
          if (!exists(weights)) return undefined;
          Deno.copyFileSync(weights, join(path, "model.safetensors"));
          Deno.copyFileSync(
            join(SHARED, "goldens", `${model}_config${suffix}.json`),
            join(path, "config.json"),
          );
          return loadAll(path);
        });
        if (layouts[1]) assertEquals(layouts[0], layouts[1]);
        else assertEquals(layouts[0]!.get(EMBEDDING)!.length, 104 * 40);
      }),
  );
}
for (const config of [MINIATURE, MINIATURE2]) {
  Deno.test(`a ${config.kind} folder in either layout holds the same, bit for bit`, () =>
    withFolder((dir) => {
      const values = initialParameters(config, 3);
      for (const layout of ["hf", "mamba-ssm"] as const) {
        const path = join(dir, layout);
        writeModelFolder(path, { config, read: values, tokenizer, layout });
        const folder = openModelFolder(path);
        assertEquals(folder.config, config);
        for (const { name } of parameterList(config)) {
          assertEquals(folder.read(name), values(name), name);
        }
        folder.close();
      }
      assert(exists(join(dir, "mamba-ssm", "pytorch_model.bin")));
      const json = JSON.parse(Deno.readTextFileSync(join(dir, "mamba-ssm", "config.json")));
      assertEquals(json.ssm_cfg.layer, config.kind === "mamba" ? "Mamba1" : "Mamba2");
      const file = openPytorchFile(join(dir, "mamba-ssm", "pytorch_model.bin"));
      assertEquals(file.floats("lm_head.weight"), values(EMBEDDING));
      assertEquals(file.floats("backbone.embedding.weight"), values(EMBEDDING));
      file.close();
    }));
}

Deno.test("openModelFolder() refuses weights of the other kind, naming the key", () =>
  withFolder((dir) => {
    for (const [config, other] of [[MINIATURE, MINIATURE2], [MINIATURE2, MINIATURE]] as const) {
      const path = join(dir, config.kind);
      writeModelFolder(path, { config, read: initialParameters(config, 1) });
      writeJson(path, "config.json", huggingFaceConfig(other));
      assertThrows(() => openModelFolder(path), UserError, "model_type, or ssm_cfg.layer");
    }
  }));

sharedTest("goldens", "openModelFolder() reads both layouts of Mamba-2", () =>
  withFolder((dir) => {
    const goldens = (name: string) => join(SHARED, "goldens", name);
    const configs = ["", "_hf"].map((suffix) => {
      const path = join(dir, `m2a${suffix}`);
      Deno.mkdirSync(path);
      Deno.copyFileSync(goldens(`m2a_config${suffix}.json`), join(path, "config.json"));
      Deno.copyFileSync(goldens("m2a_weights.safetensors"), join(path, "model.safetensors"));
      const folder = openModelFolder(path);
      folder.read(EMBEDDING);
      folder.close();
      return { ...folder.config, initializerRange: 0, endOfText: 0 };
    });
    assertEquals(configs[0], configs[1]);
  }));

Deno.test("openModelFolder() reads Infinity in config.json, which JSON does not have", () =>
  withFolder((dir) => {
    const path = join(dir, "model");
    writeModelFolder(path, { config: MINIATURE2, read: initialParameters(MINIATURE2, 1) });
    const file = join(path, "config.json");
    const text = Deno.readTextFileSync(file);
    Deno.writeTextFileSync(
      file,
      text.replace("{", '{\n  "time_step_limit": [\n0.0,\nInfinity\n],'),
    );
    const folder = openModelFolder(path);
    folder.close();
    assertEquals(folder.config, MINIATURE2);
  }));
