/**
 * `deno task test:chaos`: random histories of a corpus under the real commands, mutated inputs, and
 * kills of training, for as long as it may take. Prints the seed of whatever is wrong.
 *
 *   --minutes N        how long (default 10)
 *   --seed S           the first history and the mutants follow from it (default 1)
 *   --replay SEED      plays one history again, step by step
 *   --only PART        histories, inputs or training
 *   --kills N          stops histories after so many kills
 *   --inputs N         stops after so many mutants (default 1,000,000)
 *   --training-kills N stops after so many kills of training (default 100)
 *   --processes N      processes that read mutants (default 1)
 *   --figures FILE     keeps counts there, and goes on from them
 * @module
 */
import { exists, writeAtomic } from "../../core/files.ts";
import { consoleReporter } from "../../core/reporter.ts";
import { join, parseArgs } from "../../core/std.ts";
import { Chance } from "./chance.ts";
import { mountable, playHistory } from "./history.ts";
import { BATCH, type InputFigures, noFigures, readMutants } from "./inputs.ts";
import { TRAINING_COMMANDS, TrainingRoom } from "./training.ts";

/** Something that went wrong, with what repeats it. */
interface Failure {
  seed: number;
  steps: string[];
  error: string;
}

/** Everything counted. */
interface Figures {
  seed: number;
  histories: {
    played: number;
    steps: number;
    commands: number;
    kills: number;
    kinds: Record<string, number>;
    wrong: Failure[];
  };
  /** `left`: stretches of mutants before `next` that were not read to their end. */
  inputs: InputFigures & { next: number; left: [number, number][] };
  training: { rounds: number; kills: Record<string, number>; wrong: Failure[] };
}

const reporter = consoleReporter();
const options = parseArgs(Deno.args, {
  string: [
    "minutes",
    "seed",
    "replay",
    "only",
    "kills",
    "inputs",
    "training-kills",
    "processes",
    "figures",
  ],
});
const numberOf = (name: keyof typeof options, fallback: number): number => {
  const text = options[name] as string | undefined;
  if (text === undefined) return fallback;
  if (!/^\d+(\.\d+)?$/.test(text)) {
    reporter.log(`Option --${name} is "${text}": give a number`);
    Deno.exit(2);
  }
  return Number(text);
};
const until = performance.now() + numberOf("minutes", 10) * 60_000;
const seed = numberOf("seed", 1);
const room = Deno.makeTempDirSync({ prefix: "pubmamba-chaos-" });
const mounts = mountable(room);
if (!mounts) {
  reporter.line("Full disks and read-only moments are left out: mounting takes root on Linux");
}

const fresh: Figures = {
  seed,
  histories: { played: 0, steps: 0, commands: 0, kills: 0, kinds: {}, wrong: [] },
  inputs: Object.assign(noFigures(), { next: 0, left: [] }),
  training: { rounds: 0, kills: {}, wrong: [] },
};
const place = options.figures as string | undefined;
const figures: Figures = place !== undefined && exists(place)
  ? JSON.parse(Deno.readTextFileSync(place))
  : fresh;
if (figures.seed !== seed) {
  reporter.log(
    `${place} has the figures of seed ${figures.seed}: give that, or another file`,
  );
  Deno.exit(2);
}
const keep = () => {
  if (place !== undefined) writeAtomic(place, JSON.stringify(figures, null, 1));
};

/** Plays a history in a folder of its own, which stays where it went wrong. */
async function history(own: number, tell: (line: string) => void): Promise<boolean> {
  const folder = join(room, `history-${own}`);
  const steps: string[] = [];
  Deno.mkdirSync(folder, { recursive: true });
  try {
    const onStep = (line: string) => {
      steps.push(line);
      tell(line);
    };
    const played = await playHistory(own, { folder, mounts, onStep });
    figures.histories.played++;
    figures.histories.steps += played.steps;
    figures.histories.commands += played.commands;
    figures.histories.kills += played.kills;
    for (const [kind, count] of Object.entries(played.kinds)) {
      figures.histories.kinds[kind] = (figures.histories.kinds[kind] ?? 0) + count;
    }
    Deno.removeSync(folder, { recursive: true });
    return true;
  } catch (error) {
    const text = error instanceof Error ? error.stack ?? error.message : String(error);
    figures.histories.wrong.push({ seed: own, steps, error: text });
    reporter.line(`Wrong in history ${own} (--replay ${own}):\n${steps.join("\n")}\n${text}`);
    return false;
  }
}

async function histories(end: number): Promise<void> {
  const { histories } = figures;
  const most = numberOf("kills", Infinity);
  while (performance.now() < end && histories.kills < most) {
    const own = seed * 1_000_000 + histories.played + histories.wrong.length;
    await history(own, () => {});
    reporter.line(
      `${histories.played} histories, ${histories.kills} kills, ${histories.wrong.length} wrong`,
    );
    keep();
  }
}

async function inputs(end: number): Promise<void> {
  const { inputs } = figures;
  const most = numberOf("inputs", 1_000_000);
  const lane = async (number: number) => {
    while (performance.now() < end && (inputs.left.length > 0 || inputs.next < most)) {
      const [from, to] = inputs.left.pop() ?? [inputs.next, Math.min(most, inputs.next + BATCH)];
      inputs.next = Math.max(inputs.next, to);
      const folder = join(room, `inputs-${number}`);
      const next = await readMutants(seed, from, to, { folder, until: end, figures: inputs });
      if (next < to) inputs.left.push([next, to]);
      const read = Object.values(inputs.counts).reduce((sum, c) => sum + c.read, 0);
      const bad = inputs.wrong.length + inputs.hangs.length + inputs.aborts.length +
        inputs.greedy.length;
      reporter.line(`${read} mutants, ${bad} wrong, ${Math.round(inputs.peak / 1e6)} MB at most`);
      keep();
    }
  };
  await Promise.all(Array.from({ length: numberOf("processes", 1) }, (_, i) => lane(i)));
}

async function training(end: number): Promise<void> {
  const { training } = figures;
  const most = numberOf("training-kills", 100);
  const kills = () => Object.values(training.kills).reduce((sum, n) => sum + n, 0);
  if (performance.now() >= end || kills() >= most) return;
  const workshop = new TrainingRoom(join(room, "training"));
  Deno.mkdirSync(workshop.folder);
  await workshop.prepare(TRAINING_COMMANDS);
  while (performance.now() < end && kills() < most) {
    const own = seed * 1_000_000 + training.rounds++;
    const chance = new Chance(own);
    const command = chance.of(["train", "train", "finetune", "export"] as const);
    try {
      const count = await workshop.killUntilDone(command, chance, Math.min(5, most - kills()));
      training.kills[command] = (training.kills[command] ?? 0) + count;
    } catch (error) {
      const text = error instanceof Error ? error.stack ?? error.message : String(error);
      training.wrong.push({ seed: own, steps: [command], error: text });
      reporter.line(`Wrong in round ${own} of ${command}:\n${text}`);
    }
    reporter.line(`${kills()} kills of training, ${training.wrong.length} wrong`);
    keep();
  }
}

let good = true;
if (options.replay !== undefined) {
  good = await history(numberOf("replay", 0), (line) => reporter.line(line));
} else {
  const { only } = options;
  const wants = (part: string) => only === undefined || only === part;
  // Training comes last and gets what it needs of the time.
  const share = only === undefined ? 0.8 : 1;
  const now = performance.now();
  const first = now + (until - now) * share;
  await Promise.all([
    wants("histories") ? histories(first) : undefined,
    wants("inputs") ? inputs(first) : undefined,
  ]);
  if (wants("training")) await training(until);
  keep();
  const { histories: h, inputs: i, training: t } = figures;
  good = [h.wrong, i.wrong, i.hangs, i.aborts, i.greedy, t.wrong].every((list) =>
    list.length === 0
  );
  reporter.line(JSON.stringify(figures));
}
if (good) Deno.removeSync(room, { recursive: true });
else reporter.line(`What went wrong lies in ${room}`);
Deno.exit(good ? 0 : 1);
