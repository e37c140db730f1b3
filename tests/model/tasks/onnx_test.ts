/** Masked and causal models in ONNX, asked through transformers.js with the rights of the task. */
import { readJson, readText } from "../../../core/files.ts";
import { denoCache } from "../../../core/locations.ts";
import { consoleReporter } from "../../../core/reporter.ts";
import { join } from "../../../core/std.ts";
import { rightsFor } from "../../../commands/permissions.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import type { ChoiceAnswer } from "../../../model/tasks/core/choices.ts";
import {
  isOnnxFolder,
  onnxDigest,
  type OnnxKind,
  openOnnxFolder,
} from "../../../model/tasks/onnx/folder.ts";
import { ONNX_LOCK, ONNX_PACKAGES } from "../../../core/onnx_packages.ts";
import { writeModelFolder } from "../../../model/weights/folder.ts";
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "../../assert.ts";
import { ROOT, runTask } from "../../shared.ts";
import { withFolder, writeJson } from "../helpers.ts";
import { byteTokenizer, byteTokenizerJson, MINIATURE_READER } from "./helpers.ts";
import { referenceLogProbabilities, writeOnnxFolder } from "./onnx_model.ts";

Deno.test("folders in ONNX are known by their files, and by what they predict", () =>
  withFolder((folder) => {
    for (const kind of ["masked", "causal"] as const) {
      const path = join(folder, kind);
      writeOnnxFolder(path, kind);
      assert(isOnnxFolder(path));
      assertEquals(openOnnxFolder(path), { path, kind, dtype: "fp32", subfolder: "onnx" });
    }
    const masked = join(folder, "masked");
    assert(!isOnnxFolder(folder));
    const digest = onnxDigest(openOnnxFolder(masked));
    writeJson(masked, "config.json", { architectures: ["BertModel"] });
    assertThrows(() => openOnnxFolder(masked), Error, '["BertModel"]; a model ...ForMaskedLM');
    writeJson(masked, "config.json", { architectures: ["BertForMaskedLM"] });
    assert(onnxDigest(openOnnxFolder(masked)) !== digest);
    Deno.renameSync(join(masked, "onnx", "model.onnx"), join(masked, "model_quantized.onnx"));
    assertEquals(openOnnxFolder(masked).dtype, "q8");
    assertEquals(openOnnxFolder(masked).subfolder, "");
  }));

Deno.test("the lock of commands with ONNX has all of deno.lock, and the packages besides", () => {
  interface Lock {
    specifiers: Record<string, string>;
    npm: Record<string, { integrity?: string }>;
  }
  const all = readJson<Lock>(join(ROOT, "deno.lock"));
  const own = readJson<Lock>(join(ROOT, ONNX_LOCK));
  const missing = Object.entries(all.npm)
    .filter(([name, { integrity }]) => own.npm[name]?.integrity !== integrity)
    .map(([name]) => name);
  assertEquals(missing, [], "run: deno task onnx-lock");
  for (const name of ONNX_PACKAGES) assert(name in own.specifiers, name);
  assert(!readText(join(ROOT, "deno.lock")).includes("onnxruntime"));
});

Deno.test("only a command that names a model in ONNX gets the packages, and may read their files", () =>
  withFolder(async (folder) => {
    const path = join(folder, "peer");
    writeOnnxFolder(path, "causal");
    const environment = (name: string) => name === "HOME" ? folder : undefined;
    const words = ["reproduce", "--data", folder, "--out", join(folder, "out"), "--models"];
    const peer = await rightsFor([...words, `a=random:tiny,b=${path}`], ROOT, environment);
    assertEquals(peer.lock, ONNX_LOCK);
    const cache = denoCache(environment) ?? "";
    assert(cache.startsWith(folder));
    assert(peer.lists.read.includes(join(cache, "npm")));
    assertEquals(peer.lists.net, []);
    assertEquals((await rightsFor([...words, "a=random:tiny"], ROOT, environment)).lock, undefined);
    assertEquals(denoCache(() => "x", "linux"), "x");
    assertEquals(
      denoCache((name) => name === "HOME" ? "/h" : undefined, "darwin"),
      "/h/Library/Caches/deno",
    );
  }));

/** The questions and where their right answers stand. */
const QUESTIONS = [
  { question: "Is it a fever", options: { A: "one", B: "two", C: "three" }, answer_idx: "A" },
  { question: "x".repeat(500), options: { A: "one", B: "two", C: "three" }, answer_idx: "C" },
  { question: "Which is it", options: { A: "one", B: "two", C: "three" }, answer_idx: "B" },
];

/** Whether the packages are there, or could be fetched. */
async function fetched(): Promise<boolean> {
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "--quiet", "--frozen", `--lock=${ONNX_LOCK}`, ...ONNX_PACKAGES],
    cwd: ROOT,
  }).output();
  if (code !== 0) {
    consoleReporter().log("skipped: the packages of ONNX models cannot be fetched here");
  }
  return code === 0;
}

Deno.test("models in ONNX weigh answers as float64 does, in the table beside our own", async () => {
  if (!await fetched()) return;
  await withFolder(async (folder) => {
    const at = (name: string) => join(folder, name);
    const tokenizer = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
    const read = initialParameters(MINIATURE_READER, 3);
    writeModelFolder(at("own"), { config: MINIATURE_READER, read, tokenizer });
    for (const kind of ["masked", "causal"] as const) writeOnnxFolder(at(kind), kind);
    Deno.mkdirSync(at("data"));
    const lines = QUESTIONS.map((question) => JSON.stringify(question) + "\n").join("");
    Deno.writeTextFileSync(at("data/questions"), lines);
    const models = ["own", "masked", "causal"].map((name) => `${name}=${at(name)}`).join(",");
    const words = ["reproduce", "--models", models, "--data", at("data"), "--out", at("out")];
    const { code, stdout, stderr } = await runTask([...words, "--json"]);
    assertEquals(code, 0, stderr);
    const { sets } = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
    assertEquals(
      sets[0].rows.map((row: { name: string; kind: string }) => `${row.name} ${row.kind}`),
      ["always A (the file's own majority) trivial", "own asked", "masked asked", "causal asked"],
    );
    for (const kind of ["masked", "causal"] as const) {
      const file = at(`out/sets/choices-questions/${kind}/asked/answers.json`);
      const { answers } = readJson<{ result: { answers: ChoiceAnswer[] } }>(file).result;
      assertEquals(answers.map(({ truncated }) => truncated > 0), [false, true, false]);
      for (const answer of answers) {
        const want = ["A", "B", "C"].map((label) => expected(kind, answer, label));
        answer.logProbabilities.forEach((value, i) =>
          assertAlmostEquals(value, want[i] ?? NaN, 2e-4)
        );
        assertEquals(answer.predicted, want.indexOf(Math.max(...want)));
      }
    }
  });
});

/** ln p of a label's tokens behind a prompt, by the reference: their sum, or their mean behind masks. */
function expected(kind: OnnxKind, { item, truncated }: ChoiceAnswer, label: string): number {
  const tokenizer = byteTokenizer();
  const tokens = [...tokenizer.encode(` ${label}`)];
  const end = [...tokenizer.encode("\n\nAnswer:")];
  const whole = [...tokenizer.encode(item.prompt)];
  const kept = whole.length - truncated - end.length;
  const prompt = truncated ? [...whole.slice(0, kept), ...end] : whole;
  const mask = 0;
  const shown = kind === "masked" ? tokens.map(() => mask) : tokens;
  const places = referenceLogProbabilities(kind, [...prompt, ...shown]);
  const sum = tokens.reduce((total, token, i) => {
    const place = prompt.length + i - (kind === "masked" ? 0 : 1);
    return total + (places[place]?.[token] ?? NaN);
  }, 0);
  return kind === "masked" ? sum / tokens.length : sum;
}
