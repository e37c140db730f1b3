/** A folder as BioMamba publishes its models, straight into the commands. */
import { join } from "../../core/std.ts";
import { mamba2OfSizes } from "../../model/mamba/config.ts";
import { initialParameters } from "../../model/mamba/initialize.ts";
import { EMBEDDING, parameterList } from "../../model/mamba/parameters.ts";
import { openModelFolder } from "../../model/weights/folder.ts";
import { openReader } from "../../model/tasks/core/reader.ts";
import { UserError } from "../../core/errors.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";
import { withFolder, writeJson } from "../model/helpers.ts";
import { savePart } from "../model/weights/pytorch_files.ts";
import { ROOT } from "../shared.ts";

const TOKENIZER = join(ROOT, "fixtures", "tokenizer.json");

/** Where published models have their tokenizer from. */
const NEOX = "EleutherAI/gpt-neox-20b";

/** Sizes that config.json does not say are as published: heads of 64, 128 states, one group. */
const CONFIG = mamba2OfSizes({ hiddenSize: 64, layers: 1, vocabSize: 2048 });

/** Writes a folder with every key of the published config.json; the weights as `torch.save` has them. */
function publish(path: string, head: boolean): void {
  Deno.mkdirSync(path);
  writeJson(path, "config.json", {
    d_model: 64,
    d_intermediate: 0,
    n_layer: 1,
    vocab_size: 2048,
    ssm_cfg: { layer: "Mamba2" },
    attn_layer_idx: [],
    attn_cfg: {},
    rms_norm: true,
    residual_in_fp32: true,
    fused_add_norm: true,
    pad_vocab_size_multiple: 16,
    tie_embeddings: true,
  });
  const theirs = (name: string) => name === EMBEDDING ? "backbone.embedding.weight" : name;
  const file = join(path, "pytorch_model.bin");
  savePart(file, parameterList(CONFIG), initialParameters(CONFIG, 5), theirs, head);
}

/** Runs a command. */
async function run(...args: string[]): Promise<{ code: number; out: string; error: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", join(ROOT, "main.ts"), ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const out = text(stdout).trim().split("\n").at(-1) ?? "";
  return { code, out, error: text(stderr).replaceAll(/\s+/g, " ") };
}

/** Twelve questions with their answers in PubMedQA's layout. */
function writeQuestions(path: string): void {
  Deno.mkdirSync(path);
  const entries = Array.from({ length: 12 }, (_, i): [string, unknown] => [`${1000 + i}`, {
    QUESTION: `Is it ${i}?`,
    CONTEXTS: ["It may be."],
    final_decision: i % 2 ? "yes" : "no",
  }]);
  const truth = entries.slice(6).map(([pmid], i) => [pmid, i % 2 ? "yes" : "no"]);
  writeJson(path, "ori_pqal.json", Object.fromEntries(entries));
  writeJson(path, "test_ground_truth.json", Object.fromEntries(truth));
}

Deno.test("a published BioMamba folder goes straight into generate, evaluate and finetune", () =>
  withFolder(async (dir) => {
    const tied = join(dir, "with-head");
    const bare = join(dir, "without-head");
    publish(tied, true);
    publish(bare, false);
    const values = initialParameters(CONFIG, 5);
    for (const path of [tied, bare]) {
      const folder = openModelFolder(path);
      assertEquals(folder.config, CONFIG);
      for (const { name } of parameterList(CONFIG)) {
        assertEquals(folder.read(name), values(name), name);
      }
      folder.close();
    }
    const data = join(dir, "pubmedqa");
    writeQuestions(data);
    const generate = () =>
      run("generate", "--model", bare, "--prompt=The trial", "--max-new-tokens=3", "--json");

    // Without a tokenizer the error says which file is missing, and where published models have it from.
    const missing = await generate();
    assertEquals(missing.code, 1, missing.error);
    for (const part of [`${join(bare, "tokenizer.json")} does not exist`, NEOX]) {
      assert(missing.error.includes(part), missing.error);
      assertThrows(() => openReader(bare), UserError, part);
    }

    Deno.copyFileSync(TOKENIZER, join(bare, "tokenizer.json"));
    const generated = await generate();
    assertEquals(generated.code, 0, generated.error);
    assertEquals(JSON.parse(generated.out).tokens.length, 3);

    const words = ["--data", data, "--json", "--max-tokens=128"];
    const scored = await run("evaluate", "pubmedqa", "--model", bare, ...words);
    assertEquals(scored.code, 0, scored.error);
    const out = join(dir, "taught");
    const taught = await run(
      "finetune",
      "pubmedqa",
      "--model",
      bare,
      "--out",
      out,
      "--epochs=1",
      ...words,
    );
    assertEquals(taught.code, 0, taught.error);
    const { folder } = openReader(out);
    assertEquals(folder.config, CONFIG);
    folder.close();
  }));
