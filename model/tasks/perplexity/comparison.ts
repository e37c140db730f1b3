/** Two models' perplexities on the same documents, compared by a paired bootstrap over documents. @module */
import { UserError } from "../../../core/errors.ts";
import { type Interval, pairedBootstrap } from "../../statistics/mod.ts";
import type { DocumentTotal } from "./document_losses.ts";

/** One difference with its interval. */
interface Difference {
  /** The model's less the base's: below 0 where the model is better. */
  difference: number;
  /** 95%, by a bootstrap over documents. */
  interval: Interval;
  p: number;
}

/** What {@linkcode comparePerplexities} finds. */
export interface PerplexityComparison extends Difference {
  /** What is compared: perplexity per token, or where the tokens differ the bits per byte. */
  of: "perplexity" | "bits_per_byte";
  /** Documents that both have scored. */
  documents: number;
}

const RESAMPLES = 2000;

/**
 * Paired bootstrap over the documents that both models have read. The measure is the perplexity per
 * token, every token weighing the same; where the models do not have the same tokens, it is the bits per
 * byte of text.
 * @throws {UserError} where they did not score the same documents, or tokens differ and bytes are unknown.
 */
export function comparePerplexities(
  own: readonly DocumentTotal[],
  base: readonly DocumentTotal[],
  seed: number,
): PerplexityComparison {
  const byId = new Map(base.map((document) => [document.id, document]));
  const pairs = own.flatMap((first) => {
    const second = byId.get(first.id);
    return second ? [{ first, second }] : [];
  });
  const sameTokens = pairs.every(({ first, second }) => first.tokens === second.tokens);
  const bytes = pairs.every(({ first }) => first.bytes !== undefined);
  if (pairs.length !== own.length || pairs.length !== base.length || !sameTokens && !bytes) {
    throw new UserError(
      "Cannot compare the perplexities: the models did not score the same tokens; name models that " +
        "read the corpus with the same tokenizer, or compare them by --protocol documents",
    );
  }
  const statistic = (side: "first" | "second") => (indices: Uint32Array) => {
    let nll = 0;
    let weight = 0;
    for (const index of indices) {
      const document = pairs[index]?.[side];
      nll += document?.nll ?? NaN;
      weight += (sameTokens ? document?.tokens : document?.bytes) ?? NaN;
    }
    return sameTokens ? Math.exp(nll / weight) : nll / weight / Math.LN2;
  };
  const { difference, interval, pValue } = pairedBootstrap(
    pairs.length,
    statistic("first"),
    statistic("second"),
    { resamples: RESAMPLES, seed },
  );
  return {
    of: sameTokens ? "perplexity" : "bits_per_byte",
    documents: pairs.length,
    difference,
    interval,
    p: pValue,
  };
}

/** The comparison in words. */
export function comparisonText(comparison: PerplexityComparison): string {
  const { of, documents, difference, interval: { low, high }, p } = comparison;
  const verdict = high < 0
    ? "It is better than its base."
    : low > 0
    ? "It is worse than its base."
    : "This does not show a difference from its base.";
  return `Against its base, over ${documents.toLocaleString("en")} documents: ` +
    `${of === "perplexity" ? of : "bits per byte"} ${difference.toFixed(3)} (95% ${
      low.toFixed(3)
    } ` +
    `to ${high.toFixed(3)}), p = ${p.toFixed(4)}\n${verdict}`;
}
