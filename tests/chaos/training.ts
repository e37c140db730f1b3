/**
 * `train`, `finetune` and `export` killed at random moments: resumed, they end in the bytes of runs
 * that were left alone. A miniature model, the real commands, the machine's own GPU or its CPU driver.
 * @module
 */
import { exists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { checkpointPath, listCheckpoints } from "../../model/training/checkpoint.ts";
import { writeModelFolder } from "../../model/weights/folder.ts";
import { initialParameters } from "../../model/mamba/initialize.ts";
import { isDone, isRun } from "../../model/training/run_file.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { byteTokenizerJson, MINIATURE_READER } from "../model/tasks/helpers.ts";
import { withoutClock } from "../model/training/miniature_run.ts";
import { article, pubmedSet, putFile } from "../pipeline/support.ts";
import { Chance } from "./chance.ts";
import { finish, killed, Wrong } from "./program.ts";

/** The commands that are killed. */
export const TRAINING_COMMANDS = ["train", "finetune", "export"] as const;
/** One of them. */
type TrainingCommand = typeof TRAINING_COMMANDS[number];

/** Everything that the commands start from, in a folder of its own. */
export class TrainingRoom {
  /** The milliseconds that each command takes undisturbed. */
  readonly #usual = new Map<TrainingCommand, number>();

  constructor(readonly folder: string) {}

  /** Invents corpus, model and task, and runs each of `commands` once, undisturbed. */
  async prepare(commands: readonly TrainingCommand[]): Promise<void> {
    const { folder } = this;
    const mirror = join(folder, "mirror");
    const tokenizer = join(folder, "bytes.json");
    const json = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
    putFile(
      mirror,
      "baseline",
      1,
      pubmedSet(...Array.from({ length: 30 }, (_, i) => article(i + 1))),
    );
    Deno.writeFileSync(tokenizer, json);
    const read = initialParameters(MINIATURE_READER, 7);
    const init = { config: MINIATURE_READER, read, tokenizer: json };
    writeModelFolder(join(folder, "init"), init);
    await runPipeline({
      corpus: join(folder, "corpus"),
      source: mirror,
      tokenizer,
      sequenceLength: 24,
      validation: 0.2,
      workers: 1,
    });
    writeSentences(join(folder, "sentences"));
    const needed = commands.includes("export")
      ? new Set([...commands, "train" as const])
      : commands;
    for (const command of TRAINING_COMMANDS) {
      if (![...needed].includes(command)) continue;
      const begin = performance.now();
      const { code, stderr } = await finish(command, this.#words(command, "whole"));
      if (code !== 0) throw new Error(`${command} failed with ${code}\n${stderr}`);
      this.#usual.set(command, performance.now() - begin);
    }
  }

  /**
   * Kills a command until it is done, `most` times at most, and compares. Returns the kills.
   * @throws {Wrong} where it fails, or ends in other bytes
   */
  async killUntilDone(command: TrainingCommand, chance: Chance, most: number): Promise<number> {
    const out = this.#out(command, "killed");
    const usual = this.#usual.get(command) ?? 1000;
    if (exists(out)) Deno.removeSync(out, { recursive: true });
    let kills = 0;
    while (kills < most && !this.#isDone(command, out)) {
      const after = usual * (0.05 + 0.95 * chance.number());
      const ending = await killed(command, this.#words(command, "killed"), { after });
      if (ending.killed) kills++;
      else if (ending.code !== 0) {
        throw new Wrong(
          `${command} failed with ${ending.code} after ${kills} kills\n${ending.stderr}`,
        );
      } else break;
    }
    // Whoever sees a command killed starts it again, although it may have been done.
    if (command !== "export" || !this.#isDone(command, out)) {
      const { code, stderr } = await finish(command, this.#words(command, "killed"));
      if (code !== 0) throw new Wrong(`${command} failed with ${code}\n${stderr}`);
    }
    this.#compare(command);
    return kills;
  }

  #isDone(command: TrainingCommand, out: string): boolean {
    return command === "export" ? exists(out) : isRun(out) && isDone(out);
  }

  #out(command: TrainingCommand, name: string): string {
    return join(this.folder, `${command}-${name}`);
  }

  #words(command: TrainingCommand, name: string): string[] {
    const { folder } = this;
    const out = this.#out(command, name);
    const init = join(folder, "init");
    const resume = isRun(out) ? ["--resume"] : [];
    if (command === "train") {
      // A resumed run knows its corpus, its beginning and its settings.
      if (resume.length > 0) return ["--out", out, "--resume"];
      const words = ["--corpus", join(folder, "corpus"), "--init", init, "--out", out];
      words.push("--steps", "40", "--batch-size", "2", "--checkpoint-every", "3", "--keep", "2");
      return [...words, "--validate-every", "10", "--set", "average.decay=0.9"];
    }
    if (command === "finetune") {
      const words = ["ner", "--model", init, "--data", join(folder, "sentences"), "--out", out];
      words.push("--epochs", "3", "--batch-size", "2", "--accumulate", "2", "--max-tokens", "128");
      return [...words, ...resume];
    }
    return ["--run", this.#out("train", "whole"), "--out", out];
  }

  #compare(command: TrainingCommand): void {
    const [whole, other] = [this.#out(command, "whole"), this.#out(command, "killed")];
    if (command === "export") return compareFolders(whole, other);
    const [a, b] = [whole, other].map((run) => JSON.stringify(withoutClock(run)));
    if (a !== b) throw new Wrong(`${command}: the metrics differ: ${a} and ${b}`);
    const steps = listCheckpoints(whole).map(({ step }) => step);
    if (listCheckpoints(other).map(({ step }) => step).join() !== steps.join()) {
      throw new Wrong(`${command}: there are checkpoints of other steps than ${steps}`);
    }
    for (const step of steps) {
      compareFolders(checkpointPath(whole, step), checkpointPath(other, step), /\.safetensors$/);
    }
    for (const { name } of Deno.readDirSync(join(other, "checkpoints"))) {
      if (name.endsWith(".partial")) throw new Wrong(`${command}: ${name} was left behind`);
    }
  }
}

/** The files of both folders whose names match are the same. */
function compareFolders(whole: string, other: string, names = /./): void {
  const list = (folder: string) =>
    [...Deno.readDirSync(folder)].map((e) => e.name).filter((name) => names.test(name)).sort();
  if (list(whole).join() !== list(other).join()) {
    throw new Wrong(`${other} holds ${list(other)}, not ${list(whole)}`);
  }
  for (const name of list(whole)) {
    const [a, b] = [whole, other].map((folder) => Deno.readFileSync(join(folder, name)));
    const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);
    // The model card has the folder's name for a title.
    const same = name === "README.md"
      ? text(a).replaceAll("-whole", "") === text(b).replaceAll("-killed", "")
      : a?.length === b?.length && a?.every((byte, i) => byte === b?.[i]);
    if (!same) throw new Wrong(`${join(other, name)} differs from ${join(whole, name)}`);
  }
}

/** Invented tagged sentences in the CoNLL format. */
function writeSentences(folder: string): void {
  Deno.mkdirSync(folder, { recursive: true });
  const drugs = ["alvorin", "benzatol", "corvidine", "duraxime"];
  const line = (i: number) => {
    const drug = drugs[i % drugs.length];
    return `Patients\tO\ntook\tO\n${drug}\tB-Chemical\nfor\tO\n${i}\tO\ndays\tO\n.\tO\n\n`;
  };
  for (const [name, from, to] of [["train", 0, 12], ["devel", 12, 16], ["test", 16, 20]] as const) {
    const lines = Array.from({ length: to - from }, (_, i) => line(from + i));
    Deno.writeTextFileSync(join(folder, `${name}.tsv`), lines.join(""));
  }
}
