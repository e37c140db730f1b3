/** A run that trains adapters of low rank beside frozen weights (LoRA). @module */
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import { isHubId } from "../../core/locations.ts";
import { resolve } from "../../core/std.ts";
import {
  initialParameters,
  isAdapterParameter,
  type LoraConfig,
  type MambaConfig,
  parameterCount,
  type ReadParameter,
  trainedCount,
  withLora,
  withoutLora,
} from "../mamba/mod.ts";
import { fingerprint, type ModelFolder } from "../weights/mod.ts";
import type { TrainConfig } from "./configuration.ts";

/** What a run starts with. */
interface Start {
  config: MambaConfig;
  read: ReadParameter;
}

/** The model of a run's configuration: with the adapters that it asks for. */
export function adaptedConfig(config: MambaConfig, lora?: TrainConfig["lora"]): MambaConfig {
  if (!lora) return config;
  const { targets, rank, alpha, dropout, root_scale: rootScale } = lora;
  if (!targets.trim()) return config;
  return withLora(withoutLora(config), { targets, rank, alpha, dropout, rootScale });
}

/**
 * A start with the adapters that a run's configuration asks for, drawn by the seed: at first they change
 * nothing. The same start where it asks for none.
 * @param folder the base, open
 * @param init the base as the user names it
 * @throws {UserError} for a pattern that means no matrix, and for a base that no folder is.
 */
export function startWithAdapters(
  start: Start,
  folder: Pick<ModelFolder, "path" | "averaged" | "config" | "read">,
  { init, lora, seed }: { init: string; lora: TrainConfig["lora"] | undefined; seed: number },
): Start {
  const adapted = adaptedConfig(start.config, lora);
  const own = adapted.lora;
  if (!own || adapted === start.config) return start;
  if (init.startsWith("random:")) {
    throw new UserError(
      `Cannot train adapters beside ${init}: adapters are kept without their base, and random ` +
        `weights are kept nowhere; name a model folder or a Hugging Face id`,
    );
  }
  if (folder.averaged) {
    throw new UserError(
      `Cannot train adapters beside the averaged weights of ${folder.path}: a folder of adapters ` +
        `names its base, which has to be a model folder; make one of them with "export"`,
    );
  }
  const digest = fingerprint(folder.config, folder.read);
  const [id = init, revision] = init.split("@");
  const named = isHubId(init) && !exists(init)
    ? { name: id, ...(revision === undefined ? {} : { revision }) }
    : { name: resolve(folder.path) };
  const base = { ...named, fingerprint: digest };
  const config: MambaConfig = { ...adapted, lora: { ...own, base } };
  const drawn = initialParameters(config, seed);
  return { config, read: (name) => isAdapterParameter(name) ? drawn(name) : start.read(name) };
}

/**
 * Checks that a run goes on with the adapters that it was begun with.
 * @throws {UserError} naming what differs.
 */
export function requireSameAdapters(
  out: string,
  { lora: begun }: MambaConfig,
  wanted: MambaConfig,
): void {
  const described = (lora: LoraConfig | undefined) =>
    lora === undefined
      ? "none"
      : `rank ${lora.rank}, alpha ${lora.alpha}, dropout ${lora.dropout}` +
        `${lora.rootScale ? ", scaled by the root of the rank" : ""}, of ${
          lora.modules.join(", ")
        }`;
  const before = described(begun);
  const now = described(wanted.lora);
  if (before === now) return;
  throw new UserError(
    `Cannot resume ${out} with other adapters: it was begun with ${before}, and is to go on with ` +
      `${now}; give the same settings under lora, or begin another run`,
  );
}

/** How many values train, for the line that a run begins with. */
export function describeTrained(config: MambaConfig): string {
  const all = parameterCount(config);
  const { lora } = config;
  const number = (count: number) => count.toLocaleString("en");
  if (!lora) return `${number(all)} parameters`;
  const trained = trainedCount(config);
  const share = (100 * trained / all).toPrecision(3);
  const kinds = new Map<string, number>();
  for (const module of lora.modules) {
    const kind = module.slice(module.lastIndexOf(".") + 1);
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  const matrices = [...kinds].map(([kind, count]) => count > 1 ? `${count} x ${kind}` : kind);
  return `${number(trained)} of ${number(all)} parameters (${share} %; adapters of rank ` +
    `${lora.rank} of ${matrices.join(", ")}${config.head ? ", and the head of labels" : ""})`;
}
