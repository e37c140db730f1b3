/**
 * What each command may read, write and reach: the folders and files that its words name, the
 * program's own folder, the caches, and the network only where the words name a host or a model of
 * the hub. The table at the end has an entry for every option that names a place; a new option is
 * one more entry, and a test fails where one is missing.
 * @module
 */
import { readJson } from "../core/files.ts";
import { readJsonc } from "../core/jsonc.ts";
import {
  denoCache,
  type Environment,
  HUB_VARIABLES,
  hubEndpoint,
  hubHome,
  isHubId,
  OWN_CACHE_VARIABLES,
  ownCache,
} from "../core/locations.ts";
import { isThere, Rights } from "../core/rights.ts";
import { dirname, join, resolve } from "../core/std.ts";
import { isOnnxFolder } from "../model/tasks/onnx/folder.ts";
import { ONNX_LOCK, ONNX_VARIABLES } from "../core/onnx_packages.ts";
import {
  isStorage,
  STORAGE_VARIABLES,
  storageEndpoint,
  storageFiles,
} from "../pipeline/storage/credentials.ts";
import { detectLaunch, findLibrary, LAUNCH_VARIABLES } from "../core/mpi/launch.ts";
import { DEVICE_CHOICE_VARIABLES } from "../core/mpi/devices.ts";
import { PART_VARIABLES } from "../pipeline/parts/part.ts";

/** The other words of the command line, which decide what the value of an option means. */
interface Line {
  rights: Rights;
  environment: Environment;
  /** Every value of `--name VALUE` and `--name=VALUE`. */
  values(name: string): string[];
  /** Whether the word `--name` is there. */
  has(name: string): boolean;
}

/** Gives the rights that a value of an option needs. */
type Place = (value: string, line: Line) => void | Promise<void>;

/** An entry of the table. */
interface CommandPlaces {
  /** By option; "" stands for the words without dashes. */
  options?: Record<string, Place>;
  /** Values of options that are not given. */
  defaults?: Record<string, string>;
  /** Whether it computes on a device. */
  device?: true;
  /** Functions that ask about the machine. */
  system?: readonly string[];
  /** Whether it may be one of several ranks, which load the machine's MPI. */
  ranks?: true;
  /** Variables of the environment that it reads where they are set. */
  variables?: readonly string[];
}

/** Where Hugging Face keeps large files: the hub sends there for them. */
const HUB_STORAGE = ["*.huggingface.co", "*.hf.co"];

/** Variables that a device is chosen by; the drivers read their own without asking. */
const DEVICE_VARIABLES = ["KERNEL_VARIANT", "PUBMAMBA_DAWN_TOGGLES", "XDG_RUNTIME_DIR"];

/** Words that are no paths. */
const namesNoPlace: Place = () => {};

const reads: Place = (value, { rights }) => rights.read(value);

/** A task's file, and of statements on clinical trials the folders beside it, which hold the trials. */
const readsSet: Place = async (value, { rights }) => {
  rights.read(value);
  if (!/\.json$/i.test(value) || !isThere(value)) return;
  const { probe } = await import("../model/tasks/formats/files.ts");
  const { nli4ct } = await import("../model/tasks/formats/nli4ct.ts");
  if (nli4ct.recognise(probe(value)) > 0) rights.read(dirname(dirname(resolve(value))));
};
const writesFile: Place = (value, { rights }) => rights.writeFile(value);
const writesFolder: Place = (value, { rights }) => rights.writeFolder(value);

/** A file of ids, and the file of offsets that comes with it. */
const writesIds: Place = async (value, { rights }) => {
  const { offsetsPath } = await import("../pipeline/shards/tokenize_file.ts");
  rights.writeFile(value);
  rights.writeFile(offsetsPath(value));
};

/** The folder of a corpus that is changed; a new series is built beside it and takes its place. */
const changesCorpus: Place = async (value, { rights }) => {
  const { seriesFolders } = await import("../pipeline/permissions.ts");
  for (const folder of seriesFolders(value)) rights.change(folder);
};

/** A corpus that is changed in its place, never by a new series. */
const changesFolder: Place = (value, { rights }) => rights.change(value);

/** A corpus that is read, and changed where it is to be repaired. */
const repairsCorpus: Place = (value, { rights, has }) =>
  has("repair") ? rights.change(value) : rights.read(value);

/** A corpus that is read, and changed where near copies are to be dropped. */
const dropsFromCorpus: Place = (value, { rights, has }) =>
  has("drop") ? rights.change(value) : rights.read(value);

/** A corpus that is read, and its source asked for what is new. */
const refreshesCorpus: Place = async (value, line) => {
  await changesCorpus(value, line);
  if (line.values("source").length > 0) return;
  const { listedSource, recordedSource } = await import("../pipeline/permissions.ts");
  const inParts = line.values("part").length > 0 ||
    PART_VARIABLES.some((name) => line.environment(name) !== undefined);
  // Parts leave the catalogue alone, which one process at a time may change.
  const source = (inParts ? listedSource(value) : undefined) ?? recordedSource(value);
  if (source !== undefined) await readsSource(source, line);
};

/** A folder, or the host of a mirror. */
const readsSource: Place = (value, { rights }) => {
  if (!/^https?:\/\//i.test(value)) return rights.read(value);
  try {
    rights.reach(new URL(value).host); // with a port where it is not the scheme's own
  } catch {
    // The command says what is wrong with it.
  }
};

/** A place in S3-compatible storage: its host, and what AWS's tools find their keys in. */
const reachesStorage: Place = (value, { rights, environment }) => {
  if (!isStorage(value)) return; // the command says what is wrong with it
  const { credentials, config } = storageFiles(environment);
  for (const file of [credentials, config]) rights.read(file);
  rights.variables(STORAGE_VARIABLES);
  try {
    rights.reach(new URL(storageEndpoint(environment).endpoint).host);
  } catch {
    // The command says what is wrong with it.
  }
};

/** A corpus that is read: a folder, or a place in the storage, which is copied into the cache. */
const readsCorpus: Place = async (value, line) => {
  if (!isStorage(value)) return line.rights.read(value);
  await reachesStorage(value, line);
  const cache = ownCache(line.environment);
  if (cache !== undefined) line.rights.change(cache);
};

/**
 * A corpus that a run reads, and notes there that it needs its shards. The documents of a shard set,
 * and the notes, are in the corpus that the set is a part of.
 */
const pinsCorpus: Place = async (value, line) => {
  await readsCorpus(value, line);
  if (isStorage(value)) return;
  const home = /^(.*)[\\/]sets[\\/][^\\/]+[\\/]?$/.exec(value)?.[1];
  if (home) line.rights.read(home);
  line.rights.change(join(home ?? value, "pins"));
};

/** A corpus whose kept shards are removed; the runs that pinned them are looked at. */
const prunesCorpus: Place = async (value, { rights }) => {
  rights.change(value);
  const { readPins } = await import("../pipeline/shards/kept.ts");
  for (const pin of parsed(() => readPins(value)) as { run: string }[] | undefined ?? []) {
    rights.read(pin.run);
  }
};

/** The folders of a mix such as "pubmed=0.8,c4=0.2". */
const mixed = (value: string): string[] =>
  value.split(",").map((part) => part.replace(/=[\d.]+$/, "").trim());

/** The corpora of a mix. */
const readsMix: Place = async (value, line) => {
  for (const folder of mixed(value)) await readsCorpus(folder, line);
};

/** The corpora of a mix that a run reads. */
const pinsMix: Place = async (value, line) => {
  for (const folder of mixed(value)) await pinsCorpus(folder, line);
};

/** A file of scores, or "CORPUS: FILE; CORPUS: FILE" for the corpora of a mix. */
const readsScores: Place = (value, { rights }) => {
  rights.read(value);
  for (const part of value.split(";")) rights.read(part.replace(/^[^:]*:/, "").trim());
};

/** A model or tokenizer: a folder or file, or a hub id, which is fetched into the hub's cache. */
const readsModel: Place = (value, line) => {
  line.rights.read(value); // even where it is not there, so that the command can see that
  if (isThere(value)) return readsBase(value, line);
  if (!isHubId(value)) return;
  reachHub(line);
  line.rights.change(join(hubHome(line.environment), "hub"));
};

/** Bases of bases of adapters that are followed. */
const MOST_BASES = 8;

/**
 * The base of a folder of adapters, or of a run that trains such: a folder, which may hold adapters too,
 * or a model in the hub's cache.
 */
function readsBase(folder: string, { rights, environment }: Line): void {
  let places = [folder];
  for (let i = 0; i < MOST_BASES && places.length; i++) {
    places = places.flatMap((place) => {
      const name = baseNamed(place);
      if (name === undefined) return [];
      for (const path of [join(place, name), name]) rights.read(path);
      if (isHubId(name)) {
        rights.variables(HUB_VARIABLES);
        rights.read(join(hubHome(environment), "hub"));
      }
      return [join(place, name), name].filter(isThere);
    });
  }
}

/** The base that the adapters of a folder or of a run name. */
function baseNamed(folder: string): string | undefined {
  const adapter = parsed(() => readJson(join(folder, "adapter_config.json")));
  const name = textAt(adapter, "base_model_name_or_path");
  if (name) return name;
  const run = parsed(() => readJson(join(folder, "run.json")));
  return textAt(run, "config", "lora", "targets") ? textAt(run, "init") : undefined;
}

/** A run whose checkpoints are read, beside their base where they hold adapters. */
const readsRun: Place = (value, line) => {
  line.rights.read(value);
  readsBase(value, line);
};

/** A model that is asked: of a checkpoint, its run says which of its weights validation scores. */
const asksModel: Place = async (value, line) => {
  await readsModel(value, line);
  const run = join(value, "..", "..", "run.json");
  if (isThere(join(value, "trainer_state.json"))) line.rights.read(run);
};

/** The packages that run models in ONNX: they read their own files from Deno's cache. */
function runsOnnx({ rights, environment }: Line): void {
  rights.lock = ONNX_LOCK;
  rights.variables(ONNX_VARIABLES);
  const cache = denoCache(environment);
  if (cache !== undefined) rights.read(join(cache, "npm"));
}

/** Models, each perhaps with a name of its own: "base=random:tiny,adapted=runs/tiny". */
const asksModels: Place = async (value, line) => {
  for (const part of value.split(",")) {
    const place = part.replace(/^[^=]*=/, "").trim();
    if (place !== "") await asksModel(place, line);
    if (isOnnxFolder(place)) runsOnnx(line);
  }
};

/** Folders of answers, each with the name of its system: "gpt=answers/gpt". */
const readsNamed: Place = (value, { rights }) => {
  for (const part of value.split(",")) {
    const place = part.replace(/^[^=]*=/, "").trim();
    if (place !== "") rights.read(place);
  }
};

/** A repository of the hub that is written to. */
const publishes: Place = (_value, line) => reachHub(line);

function reachHub({ rights, environment }: Line): void {
  rights.variables(HUB_VARIABLES);
  rights.read(join(hubHome(environment), "token"));
  for (const host of HUB_STORAGE) rights.reach(host);
  try {
    rights.reach(new URL(hubEndpoint(environment)).host);
  } catch {
    // The command says what is wrong with it.
  }
}

/** The folder of a training run; to go on with it takes what its run.json names. */
const runs: Place = async (value, line) => {
  line.rights.writeFolder(value);
  if (!line.has("resume")) return;
  const run = parsed(() => readJson(join(value, "run.json")));
  const corpus = textAt(run, "corpus", "path");
  // Whether there is a folder of the name of a mix of one corpus is looked at.
  if (corpus !== undefined && !corpus.includes(",")) line.rights.read(corpus);
  if (corpus !== undefined) await (/=[\d.]+$/.test(corpus) ? pinsMix : pinsCorpus)(corpus, line);
  const init = textAt(run, "init");
  const scores = textAt(run, "config", "data", "scores");
  if (init !== undefined) await readsModel(init, line);
  if (scores) await readsScores(scores, line);
};

/** A training configuration, which may name scores. */
const readsConfig: Place = async (value, line) => {
  line.rights.read(value);
  const scores = textAt(parsed(() => readJsonc(value)), "data", "scores");
  if (scores) await readsScores(scores, line);
};

/** `KEY=VALUE` of a configuration. */
const readsSetting: Place = async (value, line) => {
  const scores = /^data\.scores=(.*)$/s.exec(value)?.[1];
  if (scores) await readsScores(scores.replace(/^"(.*)"$/, "$1"), line);
};

/** A port that a page is served at, on this machine alone. */
const listens: Place = (value, { rights }) => {
  if (/^\d{1,5}$/.test(value)) rights.reach(`127.0.0.1:${Number(value)}`);
};

/** What `read` returns, or undefined where it throws: the command says what is wrong. */
function parsed(read: () => unknown): unknown {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** The text at a path of keys. */
function textAt(value: unknown, ...keys: string[]): string | undefined {
  let found = value;
  for (const key of keys) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, key)) return undefined;
    found = (found as Record<string, unknown>)[key];
  }
  return typeof found === "string" ? found : undefined;
}

const MODEL = { model: readsModel, tokenizer: readsModel };
const ASKED = { model: asksModel, base: asksModel, tokenizer: readsModel };
const READS_CORPUS: CommandPlaces = { options: { corpus: reads } };

/**
 * Every command by its words, or a group by its first word where its commands are alike, and the
 * options that name places.
 */
export const PLACES: ReadonlyMap<string, CommandPlaces> = new Map(Object.entries<CommandPlaces>({
  "help": { options: { "": () => {} } },
  "completion": { options: { "": () => {} } },
  "demo": {
    device: true,
    options: { out: writesFolder },
    defaults: { out: "demo-output" },
  },
  "doctor": {
    device: true,
    ranks: true,
    system: ["osRelease", "statfs"],
    options: { folder: reads },
    defaults: { folder: "." },
  },
  "goldens": { device: true, options: { "": reads } },
  "train": {
    device: true,
    ranks: true,
    options: {
      corpus: pinsCorpus,
      mix: pinsMix,
      init: readsModel,
      out: runs,
      config: readsConfig,
      set: readsSetting,
      scores: readsScores,
      watch: listens,
    },
  },
  "compare": { options: { "": reads, out: writesFile }, defaults: { out: "comparison.html" } },
  "export": { options: { run: readsRun, out: writesFolder, push: publishes } },
  "generate": { device: true, options: { ...MODEL, prompts: reads } },
  "model extend": {
    device: true,
    options: { ...MODEL, out: writesFolder, contexts: reads },
  },
  "model tokenizer": { options: { model: readsModel, out: writesFile } },
  "finetune": {
    device: true,
    options: { ...MODEL, model: asksModel, data: reads, test: reads, out: runs },
  },
  "evaluate perplexity": {
    device: true,
    ranks: true,
    options: {
      model: asksModel,
      base: asksModel,
      corpus: readsCorpus,
      text: reads,
      tokenizer: readsModel,
      "mesh-tree": reads,
      output: writesFile,
      report: writesFile,
    },
  },
  "evaluate": {
    device: true,
    options: {
      ...ASKED,
      data: reads,
      gold: readsSet,
      train: readsSet,
      system: reads,
      other: reads,
      out: writesFolder,
    },
    defaults: { out: "results" },
  },
  "predict": {
    device: true,
    options: { ...MODEL, model: asksModel, input: reads, output: writesFile },
  },
  "reproduce": {
    device: true,
    options: {
      models: asksModels,
      data: reads,
      systems: readsNamed,
      tokenizer: readsModel,
      base: namesNoPlace,
      "learning-rates": namesNoPlace,
      out: writesFolder,
    },
  },
  "tasks convert": { options: { input: readsSet, out: writesFile } },
  "tasks formats": {},
  kernels: { device: true, options: { "": namesNoPlace, alternative: namesNoPlace } },
  "pipeline run": {
    system: ["systemMemoryInfo"], // for the number of workers
    variables: PART_VARIABLES,
    options: { source: readsSource, corpus: changesCorpus, tokenizer: reads },
  },
  "pipeline refresh": {
    system: ["systemMemoryInfo"],
    variables: PART_VARIABLES,
    options: { source: readsSource, corpus: refreshesCorpus, tokenizer: reads },
  },
  "pipeline push": { options: { corpus: reads, to: reachesStorage } },
  "pipeline pull": { options: { corpus: changesFolder, from: reachesStorage } },
  "pipeline finish": {
    system: ["systemMemoryInfo"],
    options: { corpus: changesCorpus },
  },
  "pipeline decontaminate": {
    options: { corpus: changesFolder, against: reads, "": reads },
  },
  "pipeline pack": {
    system: ["systemMemoryInfo"], // for the number of workers
    options: { corpus: changesFolder, tokenizer: reads, out: () => {} }, // a name in the corpus
  },
  "pipeline prune": { options: { corpus: prunesCorpus } },
  "pipeline status": READS_CORPUS,
  "pipeline verify": { options: { corpus: repairsCorpus } },
  "pipeline documents": READS_CORPUS,
  "pipeline locate": { options: { corpus: reads, shard: reads } },
  "pipeline where": READS_CORPUS,
  "pipeline sample": { options: { corpus: reads, mix: readsMix, scores: readsScores } },
  "pipeline report": {
    options: {
      out: writesFile,
      corpus(value, line) {
        line.rights.read(value);
        if (line.values("out").length === 0) line.rights.writeFile(join(value, "report.html"));
      },
    },
  },
  "pipeline duplicates": { options: { corpus: dropsFromCorpus, out: writesFile } },
  "pipeline export": { options: { corpus: reads, out: writesFolder } },
  "pipeline tokenize": { options: { tokenizer: reads, input: reads, output: writesIds } },
  "pipeline train-tokenizer": { options: { corpus: reads, input: reads, out: writesFile } },
  "pipeline extend-tokenizer": {
    options: { tokenizer: reads, corpus: reads, input: reads, out: writesFile },
  },
  "pipeline compare-tokenizers": { options: { corpus: reads, input: reads, "": reads } },
}));

/** The entry of a command line; undefined where there is none. */
export function placesOf(words: readonly string[]): CommandPlaces | undefined {
  return PLACES.get(words.slice(0, 2).join(" ")) ?? PLACES.get(words[0] ?? "");
}

/**
 * The rights of a command line.
 * @param words the words behind the program's name
 * @param code the program's own folder
 * @throws {UserError} where the record that a corpus keeps of its source cannot be read.
 */
export async function rightsFor(
  words: readonly string[],
  code: string,
  environment: Environment = (name) => Deno.env.get(name),
): Promise<Rights> {
  const rights = new Rights();
  rights.read(code);
  const places = placesOf(words);
  if (!places) return rights; // help, or a command that there is not
  const { options = {}, defaults = {}, device, ranks, system, variables } = places;
  const line: Line = {
    rights,
    environment,
    values: (name) => valuesOf(words, name),
    has: (name) => words.includes(`--${name}`),
  };
  for (const [name, place] of Object.entries(options)) {
    const given = name === "" ? bareWords(words) : valuesOf(words, name);
    const fallback = Object.hasOwn(defaults, name) ? defaults[name] : undefined;
    const values = given.length === 0 && fallback !== undefined ? [fallback] : given;
    for (const value of values) if (value !== "") await place(value, line);
  }
  if (system) rights.system(system);
  if (variables) rights.variables(variables.filter((name) => environment(name) !== undefined));
  if (ranks) rankRights(line);
  if (!device) return rights;
  rights.system(["systemMemoryInfo"]);
  rights.variables([...DEVICE_VARIABLES, ...OWN_CACHE_VARIABLES]);
  const cache = ownCache(environment);
  if (cache !== undefined) rights.change(cache);
  return rights;
}

/** What a rank needs besides: who it is, and the one library by which ranks speak with each other. */
function rankRights({ rights, environment }: Line): void {
  rights.variables(LAUNCH_VARIABLES);
  const launch = detectLaunch(environment);
  if (!launch) return;
  rights.variables(DEVICE_CHOICE_VARIABLES);
  const library = findLibrary(launch, environment);
  if (library !== undefined) rights.library(library);
}

/** Every value of `--name VALUE` and `--name=VALUE`; a word behind `--` is no option. */
function valuesOf(words: readonly string[], name: string): string[] {
  const end = words.indexOf("--");
  const before = end < 0 ? words : words.slice(0, end);
  return before.flatMap((word, i) => {
    if (word === `--${name}`) return before.slice(i + 1, i + 2);
    return word.startsWith(`--${name}=`) ? [word.slice(name.length + 3)] : [];
  });
}

/** The words without dashes that lead to anything, values of options among them. */
function bareWords(words: readonly string[]): string[] {
  return words.slice(1).filter((word) => !word.startsWith("--") && isThere(word));
}
