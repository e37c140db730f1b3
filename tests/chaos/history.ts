/**
 * A random history of a corpus: the real commands, with what can befall them in between. It ends in
 * the corpus of an undisturbed run, byte for byte, which holds what the model says, or it is wrong.
 * @module
 */
import { exists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { decontaminateCorpus } from "../../pipeline/decontaminate.ts";
import { type RunOptions, runPipeline } from "../../pipeline/run.ts";
import { SPLITS } from "../../pipeline/shards/order.ts";
import { PACKING_METHODS, type PackingMethod } from "../../pipeline/shards/packing.ts";
import { readPlacements } from "../../pipeline/shards/placements.ts";
import { ROOT } from "../shared.ts";
import { badMirror } from "../pipeline/bad_mirror.ts";
import { digestOf, documentsOf, withServer } from "../pipeline/support.ts";
import { Chance } from "./chance.ts";
import { type Ending, finish, killed, Running, Wrong } from "./program.ts";
import { World } from "./world.ts";

const TOKENIZER = join(ROOT, "fixtures/tokenizer.json");
/** What a killed process still holds for a moment after its end was told. */
const LOCK_TRIES = 40;

/** What a history came to. */
interface HistoryFigures {
  steps: number;
  commands: number;
  kills: number;
  /** How often each kind of step was taken. */
  kinds: Record<string, number>;
}

/** How to play. */
interface HistoryOptions {
  /** A folder for the mirror and the corpora; everything in it may be removed. */
  folder: string;
  /** Whether small disks may be mounted under `folder`. */
  mounts: boolean;
  /** Told of each step before it is taken. */
  onStep?: (line: string) => void;
}

/** True where a small disk can be mounted, which takes an administrator's rights. */
export function mountable(folder: string): boolean {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  const place = join(folder, "mount-trial");
  Deno.mkdirSync(place, { recursive: true });
  const done = system("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place);
  if (done) system("umount", place);
  Deno.removeSync(place);
  return done;
}

/**
 * Plays the history of `seed`.
 * @throws {Wrong} where it does not end as it must
 */
export async function playHistory(seed: number, options: HistoryOptions): Promise<HistoryFigures> {
  const history = new History(seed, options);
  const play = () => history.play();
  if (!history.remote) return await play();
  const faults = new Chance(seed ^ 0x5eed);
  const { root } = history.world;
  return await withServer(root, (url) => {
    history.source = url;
    return play();
  }, badMirror(root, () => faults.number()));
}

function system(command: string, ...args: string[]): boolean {
  return new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync().success;
}

class History {
  readonly chance: Chance;
  readonly world: World;
  readonly remote: boolean;
  source: string;
  readonly #folder: string;
  readonly #corpus: string;
  readonly #twin: string;
  readonly #disk: string | undefined;
  readonly #settings: RunOptions;
  readonly #evaluations: string[] = [];
  readonly #onStep: (line: string) => void;
  readonly #figures: HistoryFigures = { steps: 0, commands: 0, kills: 0, kinds: {} };
  /** How long a command takes that nothing befalls, in milliseconds. */
  #usual = 600;
  /** True after a command that did not end well, until one does. */
  #torn = false;

  constructor(seed: number, { folder, mounts, onStep = () => {} }: HistoryOptions) {
    const chance = this.chance = new Chance(seed);
    this.#folder = folder;
    this.#onStep = onStep;
    this.world = new World(join(folder, "mirror"), chance);
    this.source = this.world.root;
    this.remote = chance.happens(0.4);
    this.#disk = chance.happens(0.4) && mounts ? join(folder, "disk") : undefined;
    this.#corpus = join(this.#disk ?? folder, "corpus");
    this.#twin = join(folder, "twin");
    this.#settings = {
      corpus: this.#twin,
      source: this.world.root,
      tokenizer: TOKENIZER,
      workers: 1,
      sequenceLength: chance.of([32, 64, 128]),
      packing: chance.of(PACKING_METHODS) as PackingMethod,
      seed: chance.below(1000),
      validation: chance.of([0, 0.1]),
      test: chance.of([0, 0.1]),
    };
  }

  async play(): Promise<HistoryFigures> {
    Deno.mkdirSync(this.#disk ?? this.#folder, { recursive: true });
    const size = "size=12m";
    if (this.#disk && !system("mount", "-t", "tmpfs", "-o", size, "tmpfs", this.#disk)) {
      throw new Error(`Cannot mount a disk at ${this.#disk}`);
    }
    try {
      await this.#begin();
      for (let i = this.chance.between(5, 10); i > 0; i--) await this.#step();
      await this.#end();
      return this.#figures;
    } finally {
      if (this.#disk) {
        system("mount", "-o", "remount,rw", this.#disk);
        system("umount", this.#disk);
      }
    }
  }

  async #begin(): Promise<void> {
    this.world.newBaseline(this.chance.between(1, 3));
    for (let i = this.chance.below(3); i > 0; i--) this.world.publish();
    const { sequenceLength, packing, seed, validation, test } = this.#settings;
    const words = ["run", "--source", this.source, "--corpus", this.#corpus];
    words.push("--tokenizer", TOKENIZER, "--sequence-length", String(sequenceLength));
    words.push("--packing", String(packing), "--seed", String(seed));
    words.push("--validation", String(validation), "--test", String(test));
    this.#tell("first run", `${this.world.files.size} files, packed by ${packing}`);
    await this.#killSome([...words, ...this.#speed()], this.chance.below(3));
    await this.#effective([...words, ...this.#speed()]);
    await this.#twinRuns();
  }

  async #step(): Promise<void> {
    const { chance, world } = this;
    const kinds: [number, string, () => Promise<void>][] = [
      [3, "publish and refresh", () => this.#refresh(() => world.publish())],
      [2, "issue again and refresh", () => this.#refresh(() => world.issueAgain())],
      [12, "kill refreshes", () => this.#killedRefresh()],
      [1, "interrupt", () => this.#interrupt()],
      [2, "decontaminate", () => this.#decontaminate()],
      [1, "verify", () => this.#verify()],
      [2, "flip a byte", () => this.#damage("flip")],
      [1, "lose a file", () => this.#damage("lose")],
      [1, "clock jumps", () => this.#clockJumps()],
      [2, "two at once", () => this.#twoAtOnce()],
      [1, "other settings", () => this.#otherSettings()],
      [this.#disk ? 3 : 0, "full disk", () => this.#fullDisk()],
      [this.#disk ? 2 : 0, "read only", () => this.#readOnly()],
      [2, "verify beside a refresh", () => this.#verifyBeside()],
      [1, "new year", () => this.#newYear()],
      [1, "what others keep", () => this.#neighbours()],
    ];
    let at = chance.below(kinds.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, kind, take] of kinds) {
      if ((at -= weight) >= 0) continue;
      this.#tell(kind, "");
      return await take();
    }
  }

  /** Everything is brought up to date, and compared. */
  async #end(): Promise<void> {
    this.#tell("end", "");
    await this.#refresh(() => {});
    await this.#verify();
    const printed = await this.#command(["documents", "--corpus", this.#corpus]);
    this.#equal(
      "printed documents",
      printed.stdout.split("\n").length - 1,
      this.world.live().length,
    );
    const fresh = join(this.#folder, "fresh");
    await runPipeline({ ...this.#settings, corpus: fresh });
    if (this.#evaluations.length > 0) {
      await decontaminateCorpus({ corpus: fresh, against: this.#evaluations });
    }
    this.#equal("the bytes of a corpus built anew", digestOf(this.#corpus), digestOf(fresh));
  }

  #tell(kind: string, more: string): void {
    this.#figures.steps++;
    this.#figures.kinds[kind] = (this.#figures.kinds[kind] ?? 0) + 1;
    this.#onStep(`step ${this.#figures.steps}: ${kind}${more ? ` (${more})` : ""}`);
  }

  #equal(what: string, found: unknown, expected: unknown): void {
    const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
    if (a !== b) throw new Wrong(`${what}: found ${a}\nexpected ${b}`);
  }

  /** Options for a mirror with faults. */
  #speed(): string[] {
    const workers = ["--workers", "2"];
    return this.remote ? ["--retry-delay", "0.002", "--read-timeout", "2", ...workers] : workers;
  }

  #refreshWords(): string[] {
    return ["refresh", "--corpus", this.#corpus, ...this.#speed()];
  }

  /** A command that nothing befalls, whatever it ends in. */
  async #command(words: string[]): Promise<Ending> {
    for (let tries = 0;; tries++) {
      this.#figures.commands++;
      const ending = await finish("pipeline", words);
      // The kernel takes a moment to free the lock of a process that was killed.
      const busy = /another process is at work/.test(ending.stderr + ending.stdout);
      if (!busy || tries === LOCK_TRIES) return ending;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  /** A command that nothing befalls, and that must succeed. */
  async #effective(words: string[]): Promise<Ending> {
    const begin = performance.now();
    const ending = await this.#command(words);
    this.#usual = performance.now() - begin;
    if (ending.code !== 0) {
      throw new Wrong(`"${words.join(" ")}" failed with ${ending.code}\n${ending.stderr}`);
    }
    this.#torn = false;
    return ending;
  }

  /** Kills a command up to `times` times; true where it was done before. */
  async #killSome(words: string[], times: number): Promise<boolean> {
    for (let i = 0; i < times; i++) {
      const { chance } = this;
      const folder = this.#corpus;
      const byChanges = chance.happens(0.5) && exists(folder);
      const changes = chance.between(1, 60);
      const after = 60 + chance.number() * this.#usual;
      this.#figures.commands++;
      const ending = await killed(
        "pipeline",
        words,
        byChanges ? { changes, folder } : { after },
      );
      if (!ending.killed) {
        if (/another process is at work/.test(ending.stderr)) continue;
        if (ending.code !== 0) {
          throw new Wrong(`"${words.join(" ")}" failed with ${ending.code}\n${ending.stderr}`);
        }
        return true;
      }
      this.#figures.kills++;
      this.#torn = true;
      if (chance.happens(0.2)) await this.#status();
    }
    return false;
  }

  /** Whatever befell the corpus, its state can be asked for. */
  async #status(): Promise<void> {
    const { code, stderr } = await this.#command(["status", "--corpus", this.#corpus]);
    if (code !== 0 && !/Cannot find a corpus/.test(stderr)) {
      throw new Wrong(`status failed with ${code} on a corpus whose run was killed\n${stderr}`);
    }
  }

  async #twinRuns(): Promise<void> {
    await runPipeline(this.#settings);
    await this.#compare();
  }

  /** The live set is the model's, the shards are of what is training text, the bytes the twin's. */
  async #compare(): Promise<void> {
    const documents = (await documentsOf(this.#corpus)).map((
      { pmid, version, title, abstract },
    ) => ({
      pmid,
      version,
      text: [title, abstract].filter((part) => part !== "").join("\n\n"),
    }));
    this.#equal("live documents", documents, this.world.live());
    const packed = new Set<number>();
    for (const split of SPLITS) {
      for await (const { pmid } of readPlacements(this.#corpus, split)) packed.add(pmid);
    }
    this.#equal("PMIDs in the shards", [...packed].sort((a, b) => a - b), this.world.training());
    this.#equal("the bytes of an undisturbed run", digestOf(this.#corpus), digestOf(this.#twin));
    for (const entry of [...Deno.readDirSync(this.#corpus)]) {
      if (/\.partial$|^raw$|^next-|^old-/.test(entry.name)) {
        throw new Wrong(`${entry.name} was left behind`);
      }
    }
  }

  async #refresh(change: () => void): Promise<void> {
    change();
    await this.#effective(this.#refreshWords());
    await this.#twinRuns();
  }

  async #killedRefresh(): Promise<void> {
    const { chance, world } = this;
    if (chance.happens(0.8)) world.publish();
    if (chance.happens(0.3)) world.issueAgain();
    const done = await this.#killSome(this.#refreshWords(), chance.between(2, 12));
    if (done) this.#torn = false;
    if (done) await this.#twinRuns();
  }

  /** Ctrl-C: the refresh stops and says so, or was too early or too late to be stopped. */
  async #interrupt(): Promise<void> {
    this.world.publish();
    if (this.#torn) await this.#effective(this.#refreshWords());
    this.world.publish();
    this.#figures.commands++;
    const running = new Running("pipeline", this.#refreshWords());
    const timer = setTimeout(() => running.interrupt(), this.chance.number() * this.#usual);
    const { code, stderr, signalled } = await running.ending();
    clearTimeout(timer);
    // Before the program listens to signals, the system ends it.
    if (code !== 0 && code !== 130 && !signalled) {
      throw new Wrong(`an interrupted refresh ended with ${code}\n${stderr}`);
    }
    this.#torn = true;
    await this.#refresh(() => {});
  }

  async #decontaminate(): Promise<void> {
    // A corpus that a run left half done is whole before it is compared.
    if (this.#torn) await this.#refresh(() => {});
    const path = join(this.#folder, `evaluation${this.#evaluations.length}.json`);
    this.world.writeEvaluation(path);
    this.#evaluations.push(path);
    // What was held out before stays held out.
    const words = ["decontaminate", "--corpus", this.#corpus, "--against", path];
    if (this.chance.happens(0.5)) await this.#killSome(words, 2);
    await this.#effective(words);
    await this.#effective(this.#refreshWords());
    await decontaminateCorpus({ corpus: this.#twin, against: [path] });
    await this.#twinRuns();
  }

  async #verify(): Promise<void> {
    if (this.#torn) await this.#refresh(() => {});
    const { code, stdout, stderr } = await this.#command(["verify", "--corpus", this.#corpus]);
    if (code !== 0) {
      throw new Wrong(`verify is not content with a whole corpus\n${stdout}${stderr}`);
    }
  }

  /**
   * Damages one file of a whole corpus: verify has to find it, and a repair or a mere refresh to make
   * it again. What no run can make is put back, as from a backup.
   */
  async #damage(how: "flip" | "lose"): Promise<void> {
    if (this.#torn) await this.#refresh(() => {});
    const files = filesOf(this.#corpus).filter((name) => !/^(\.lock|catalogue\.)/.test(name));
    const name = this.chance.of(files);
    const path = join(this.#corpus, name);
    const bytes = Deno.readFileSync(path);
    const at = this.chance.below(bytes.length);
    const what = how === "flip" ? `byte ${at} of ${name}` : name;
    this.#onStep(`  ${what}`);
    if (how === "lose" || bytes.length === 0) Deno.removeSync(path);
    else {Deno.writeFileSync(
        path,
        bytes.map((b, i) => i === at ? b ^ 1 << this.chance.below(8) : b),
      );}
    const verify = ["verify", "--corpus", this.#corpus];
    const { code, stdout, stderr } = await this.#command(verify);
    if (code !== 1 || !/^Wrong: /m.test(stdout)) {
      throw new Wrong(`verify did not find the damage of ${what}\n${stdout}${stderr}`);
    }
    if (/^(tokenizer|contamination)\.json$/.test(name)) Deno.writeFileSync(path, bytes);
    else if (how === "flip" || this.chance.happens(0.5)) {
      await this.#command([...verify, "--repair"]);
    }
    await this.#refresh(() => {});
    await this.#verify();
  }

  /** Files get dates of other years; what they hold is what counts. */
  async #clockJumps(): Promise<void> {
    const date = () => new Date(this.chance.between(0, 4_000_000) * 1_000_000);
    const walk = (folder: string) => {
      for (const entry of Deno.readDirSync(folder)) {
        const path = join(folder, entry.name);
        if (entry.isDirectory) walk(path);
        else if (this.chance.happens(0.5)) Deno.utimeSync(path, date(), date());
      }
    };
    walk(this.world.root);
    walk(this.#corpus);
    await this.#refresh(() => {});
  }

  /** Two refreshes at the same time, and a reader beside them: one works, the other says so. */
  async #twoAtOnce(): Promise<void> {
    this.world.publish();
    if (this.#torn) await this.#effective(this.#refreshWords());
    const words = this.#refreshWords();
    const wait = this.chance.number() * 200;
    this.#figures.commands += 3;
    const first = new Running("pipeline", words).ending();
    await new Promise((resolve) => setTimeout(resolve, wait));
    const others = [words, ["status", "--corpus", this.#corpus]]
      .map((line) => new Running("pipeline", line).ending());
    for (const { code, stderr } of await Promise.all([first, ...others])) {
      if (code !== 0) throw new Wrong(`one of two at once failed with ${code}\n${stderr}`);
    }
    await this.#twinRuns();
  }

  /** Another sequence length than the corpus's is refused and changes nothing. */
  async #otherSettings(): Promise<void> {
    if (this.#torn) await this.#refresh(() => {});
    const before = digestOf(this.#corpus);
    const { code, stderr } = await this.#command([
      ...this.#refreshWords(),
      "--sequence-length",
      "48",
    ]);
    if (code !== 1 || !/Cannot use --sequence-length 48/.test(stderr)) {
      throw new Wrong(`another sequence length was not refused: ${code}\n${stderr}`);
    }
    this.#equal("the bytes after a refused setting", digestOf(this.#corpus), before);
  }

  /** A corpus that cannot be written can be looked at, and a refresh says what is the matter. */
  async #readOnly(): Promise<void> {
    const disk = this.#disk;
    if (!disk) return;
    if (this.#torn) await this.#refresh(() => {});
    this.world.publish();
    if (!system("mount", "-o", "remount,ro", disk)) throw new Error(`Cannot remount ${disk}`);
    try {
      for (const word of ["status", "verify", "documents"]) {
        const { code, stdout, stderr } = await this.#command([word, "--corpus", this.#corpus]);
        if (code !== 0) {
          throw new Wrong(`${word} of a read-only corpus: ${code}\n${stdout}${stderr}`);
        }
      }
      const { code, stderr } = await this.#command(this.#refreshWords());
      if (code !== 1 || !/^Cannot /m.test(stderr)) {
        throw new Wrong(`a refresh of a read-only corpus: ${code}\n${stderr}`);
      }
    } finally {
      system("mount", "-o", "remount,rw", disk);
    }
    await this.#refresh(() => {});
  }

  /** Whoever verifies while a refresh is at work finds a whole corpus, the old one or the new. */
  async #verifyBeside(): Promise<void> {
    if (this.#torn) await this.#refresh(() => {});
    this.world.publish();
    this.#figures.commands += 2;
    const refresh = new Running("pipeline", this.#refreshWords()).ending();
    await new Promise((resolve) => setTimeout(resolve, this.chance.number() * this.#usual));
    const verify = await finish("pipeline", ["verify", "--corpus", this.#corpus]);
    const { code, stderr } = await refresh;
    if (code !== 0) throw new Wrong(`a refresh that is verified failed with ${code}\n${stderr}`);
    if (verify.code !== 0) {
      throw new Wrong(`verify beside a refresh: ${verify.code}\n${verify.stdout}${verify.stderr}`);
    }
    await this.#twinRuns();
  }

  /**
   * A new year's series, of which only a part is there at first; the refreshes that go over to it are
   * killed.
   */
  async #newYear(): Promise<void> {
    const { chance, world } = this;
    if (this.#torn) await this.#refresh(() => {});
    const whole = world.baseline;
    const part = chance.below(whole);
    const before = digestOf(this.#corpus);
    if (part > 0) {
      world.newYear(part);
      const { code, stderr } = await this.#command(this.#refreshWords());
      if (code !== 1 || !/^Cannot go over to the series/m.test(stderr)) {
        throw new Wrong(`${part} of ${whole} files of a new year were taken: ${code}\n${stderr}`);
      }
      this.#equal("the bytes beside half a new year", digestOf(this.#corpus), before);
      world.completeBaseline();
    } else world.newYear(whole);
    await this.#killSome(this.#refreshWords(), chance.below(4));
    await this.#refresh(() => {});
  }

  /** Folders beside the corpus are not the program's, whatever they are called. */
  async #neighbours(): Promise<void> {
    const places = [".old", ".next", ".partial"].map((suffix) => this.#corpus + suffix);
    for (const place of places) {
      Deno.mkdirSync(place, { recursive: true });
      Deno.writeTextFileSync(join(place, "precious.txt"), place);
    }
    await this.#refresh(() => this.world.publish());
    for (const place of places) {
      const found = Deno.readTextFileSync(join(place, "precious.txt"));
      this.#equal(`the file in ${place}`, found, place);
      Deno.removeSync(place, { recursive: true });
    }
  }

  /** The disk fills up while there is something to do: it is said, and the next refresh goes on. */
  async #fullDisk(): Promise<void> {
    const disk = this.#disk;
    if (!disk) return;
    if (this.#torn) await this.#effective(this.#refreshWords());
    this.world.publish();
    const filler = join(disk, "filler");
    const left = this.chance.below(60_000);
    Deno.writeFileSync(filler, new Uint8Array(Math.max(0, freeBytes(disk) - left)));
    const { code, stderr } = await this.#command(this.#refreshWords());
    Deno.removeSync(filler);
    if (code !== 0 && !/disk is full/.test(stderr)) {
      throw new Wrong(`a full disk was told otherwise: ${code}\n${stderr}`);
    }
    this.#torn = code !== 0;
    await this.#refresh(() => {});
  }
}

/** Every file under a folder, by its place in it. */
function filesOf(folder: string, inside = ""): string[] {
  return [...Deno.readDirSync(join(folder, inside))].flatMap((entry) => {
    const name = inside === "" ? entry.name : `${inside}/${entry.name}`;
    return entry.isDirectory ? filesOf(folder, name) : [name];
  }).sort();
}

function freeBytes(disk: string): number {
  const args = ["--output=avail", "-B1", disk];
  const { stdout } = new Deno.Command("df", { args }).outputSync();
  return Number(new TextDecoder().decode(stdout).split("\n")[1]);
}
