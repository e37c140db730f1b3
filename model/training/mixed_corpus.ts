/** Several corpora as one, for training on a mix. @module */
import { fail, UserError } from "../../core/errors.ts";
import { sha256 } from "../../core/files.ts";
import { nth } from "../../core/nth.ts";
import { resolve } from "../../core/std.ts";
import { Blend, parseMix } from "../../pipeline/selection/blend.ts";
import { pinShardsOfAll, readManifest, unpinShards } from "../../pipeline/shards/mod.ts";
import { nameOf, selectionsOfMix } from "../../pipeline/selection/mix_selection.ts";
import { selects } from "../../pipeline/selection/selection.ts";
import type { RowSource, Split, TrainingCorpus } from "./corpus.ts";
import { openCorpus, requireShards } from "./shard_corpus.ts";

type Part = { path: string; share: number };

/**
 * Opens the corpora of a mix such as "pubmed=0.8,c4=0.2". The training split is drawn by shares of
 * tokens; the held-out splits are those of all corpora, one after the other.
 * @throws {UserError} where a corpus is missing, or their tokenizers or sequence lengths differ.
 */
export function openMix(text: string): TrainingCorpus & Disposable {
  const parts = parseMix(text);
  const corpora = parts.map(({ path }) => openCorpus(path));
  const close = () => corpora.forEach((c) => c[Symbol.dispose]());
  const first = corpora[0] ?? fail("a mix has no corpus");
  for (const other of corpora.slice(1)) {
    const differs = other.tokenizerSha256 !== first.tokenizerSha256
      ? "tokenizers differ"
      : other.sequenceLength !== first.sequenceLength
      ? `sequence lengths are ${first.sequenceLength} and ${other.sequenceLength}`
      : "";
    if (differs) {
      close();
      throw new UserError(
        `Cannot mix ${first.path} and ${other.path}: their ${differs}; build one again like the other`,
      );
    }
  }
  return {
    ...mixOf(parts, corpora),
    kept(shards) {
      if (typeof shards === "string") return undefined; // of one corpus
      const then = corpora.map((corpus, i) => {
        const wanted = shards[i] ?? "";
        return corpus.shardsSha256 === wanted ? corpus : corpus.kept?.(wanted);
      });
      const all = then.filter((corpus) => corpus !== undefined);
      return all.length === parts.length && shards.length === parts.length
        ? mixOf(parts, all)
        : undefined;
    },
    pin(run, shards) {
      if (!shards.length) {
        for (const { path } of corpora) unpinShards(path, run);
        return;
      }
      const ofEach = shards.filter((one) => typeof one !== "string");
      pinShardsOfAll(
        run,
        corpora.map(({ path }, i) => ({
          folder: path,
          manifests: ofEach.flatMap((one) => one[i] ?? []),
        })),
      );
      // What a run goes on with, although its corpus was refreshed, is a kept set by now.
      for (const [i, corpus] of corpora.entries()) {
        const hash = corpus.shardsSha256;
        const needed = ofEach.some((one) => one[i] === hash);
        if (needed && typeof hash === "string") requireShards(corpus.path, hash, run);
      }
    },
    [Symbol.dispose]: close,
  };
}

/**
 * Corpora as one.
 * @param parts how the mix names them, which rules of a selection and validations do too
 * @param corpora those of today, or kept sets of them
 */
function mixOf(parts: readonly Part[], corpora: readonly TrainingCorpus[]): TrainingCorpus {
  const first = corpora[0] ?? fail("a mix has no corpus");
  const paths = parts.map(({ path }) => path);
  const folders = corpora.map(({ path }) => path);
  const splits = new Map<Split, RowSource>();
  const mix: TrainingCorpus = {
    tokenizerSha256: first.tokenizerSha256,
    vocabularySize: first.vocabularySize,
    endOfText: first.endOfText,
    sequenceLength: first.sequenceLength,
    path: parts.map(({ path, share }) => `${resolve(path)}=${share}`).join(","),
    manifestSha256: sha256(
      JSON.stringify(corpora.map((c, i) => [c.manifestSha256, partAt(parts, i).share])),
    ),
    shardsSha256: corpora.flatMap((c) => c.shardsSha256 ?? []),
    tokenizer: () => first.tokenizer(),
    split(name) {
      let rows = splits.get(name);
      if (!rows) {
        const sources = corpora.map((c) => c.split(name));
        rows = name === "train"
          ? blended(sources, parts, folders, first.sequenceLength)
          : heldOutOf(sources, parts);
        splits.set(name, rows);
      }
      return rows;
    },
    async select(spec) {
      const specs = await selectionsOfMix(paths, spec, folders);
      const chosen = await Promise.all(
        corpora.map((c, i) => {
          const own = specs[i];
          if (!own || !selects(own)) return c;
          if (!c.select) throw new RangeError(`Nothing is known of the documents of ${c.path}`);
          return c.select(own);
        }),
      );
      const sources = chosen.map((c) => c.split("train"));
      const train = {
        ...blended(sources, parts, folders, first.sequenceLength),
        parts: sources.map((source, i) => ({ name: nameOf(paths, i), source })),
      };
      const shares = parts.map(({ share }) => share);
      return {
        ...mix,
        manifestSha256: sha256(JSON.stringify([chosen.map((c) => c.manifestSha256), shares])),
        split: (name) => name === "train" ? train : mix.split(name),
      };
    },
  };
  return mix;
}

/** The held-out rows of all corpora, which stay told apart. */
function heldOutOf(sources: RowSource[], parts: readonly Part[]): RowSource {
  const paths = parts.map(({ path }) => path);
  return {
    ...oneAfterTheOther(sources),
    parts: sources.map((source, i) => ({
      name: nameOf(paths, i),
      source,
      share: partAt(parts, i).share,
    })),
  };
}

const partAt = (parts: readonly Part[], i: number): Part =>
  parts[i] ?? fail(`a mix has no part ${i}`);

function oneAfterTheOther(sources: RowSource[]): RowSource {
  return {
    rows: sources.reduce((n, s) => n + s.rows, 0),
    row(index) {
      let rest = index;
      for (const source of sources) {
        if (rest < source.rows) return source.row(rest);
        rest -= source.rows;
      }
      throw new RangeError(`There is no row ${index}: the corpora have ${index - rest}`);
    },
  };
}

function blended(
  sources: RowSource[],
  parts: readonly Part[],
  folders: readonly string[],
  sequenceLength: number,
): RowSource {
  const described = sources.map(({ rows, tokens }, i) => {
    const padding = readManifest(nth(folders, i)).splits.train.padding_share;
    const tokensPerRow = tokens === undefined ? sequenceLength * (1 - padding) : tokens / rows;
    return { rows, share: partAt(parts, i).share, tokensPerRow };
  });
  const blends = new Map<number, Blend>();
  return {
    ...oneAfterTheOther(sources),
    draw(seed, index) {
      let blend = blends.get(seed);
      if (!blend) blends.set(seed, blend = new Blend(described, seed));
      const { source, row, index: place, seed: own } = blend.at(index);
      const rows = sources[source] ?? fail(`there is no corpus ${source}`);
      return rows.draw?.(own, place) ?? rows.row(row);
    },
  };
}
