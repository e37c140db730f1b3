/** Which part of a set a name tells. @module */

/** The parts of a set. */
export type SplitName = "train" | "develop" | "test";

/** The words by which names tell a split. */
const WORDS: Record<SplitName, RegExp> = {
  // NCBI-disease's files are called NCBItrainset_corpus.txt and so on.
  train: /^(train|training)$|train(ing)?set$/,
  develop:
    /^(dev|devel|develop|development|valid|validation|val)$|(dev|devel|develop|development)set$/,
  test: /^(test|testing)$|test(ing)?set$/,
};

/** The words of a name: CDR_TrainingSet.PubTator.txt is cdr, training, set, pub, tator, txt. */
const wordsOf = (name: string): string[] =>
  name.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase().split(/[^a-z0-9]+/).filter(Boolean);

/** Which split a name tells; undefined for none, and for more than one (train_dev). */
export function splitOf(name: string): SplitName | undefined {
  const words = wordsOf(name);
  const found = (Object.keys(WORDS) as SplitName[])
    .filter((split) => words.some((word) => WORDS[split].test(word)));
  return found.length === 1 ? found[0] : undefined;
}
