/**
 * Figures from papers, to stand beside what was measured. A set is known by the words of its path alone,
 * so that each figure comes with what may differ: it is for orientation and is compared with nothing.
 * @module
 */

/** A figure from a paper. */
export interface Published {
  /** The system and where it was published. */
  system: string;
  /** In percent. */
  value: number;
  measure: string;
  /** What has to be known before the two are put side by side. */
  caveat: string;
}

/** Figures of a set. */
interface PublishedSet {
  task: string;
  /** Looked for in the set's path, without case, spaces and marks. */
  words: readonly string[];
  figures: readonly Published[];
}

const BIOBERT = "BioBERT v1.1 (Lee et al. 2020)";
const SCIBERT = "SciBERT (Beltagy et al. 2019)";
const BIOMAMBA = "BioMamba 130M (its README)";
const ONE_TYPE = "110 million parameters; its sets have one type of entity each";
const OWN_SPLIT = "110 million parameters";

const biobert = (value: number): Published => ({
  system: BIOBERT,
  value,
  measure: "entity F1",
  caveat: ONE_TYPE,
});

/** The figures that are known. */
const SETS: readonly PublishedSet[] = [
  {
    task: "ner",
    words: ["ncbi"],
    figures: [
      biobert(89.71),
      { system: SCIBERT, value: 88.57, measure: "entity F1", caveat: OWN_SPLIT },
    ],
  },
  {
    task: "ner",
    words: ["bc5cdr"],
    figures: [{
      system: SCIBERT,
      value: 90.01,
      measure: "entity F1",
      caveat: "110 million parameters; both types together",
    }],
  },
  { task: "ner", words: ["bc2gm"], figures: [biobert(84.72)] },
  { task: "ner", words: ["jnlpba"], figures: [biobert(77.49)] },
  {
    task: "relations",
    words: ["chemprot"],
    figures: [
      {
        system: SCIBERT,
        value: 83.64,
        measure: "micro F1",
        caveat:
          "110 million parameters; 13 labels, none of which is negative, as in SciBERT's files",
      },
      {
        system: BIOBERT,
        value: 76.46,
        measure: "micro F1",
        caveat:
          "110 million parameters; the official five classes of all pairs of entities, which " +
          "is another task than SciBERT's files",
      },
    ],
  },
  {
    task: "pubmedqa",
    words: [],
    figures: [
      {
        system: BIOMAMBA,
        value: 63.0,
        measure: "accuracy",
        caveat:
          "on a random 200 of the questions, not on the official 500; 51.5 before continued " +
          "pretraining",
      },
      {
        system: "one human, reading the context alone (Jin et al. 2019)",
        value: 78.0,
        measure: "accuracy",
        caveat: "the official 500",
      },
    ],
  },
  {
    task: "bioasq",
    words: [],
    figures: [{
      system: BIOMAMBA,
      value: 68.3,
      measure: "yes/no accuracy",
      caveat:
        "on 82 questions of its own choice, of which always yes has 65.9 right; 53.7 before " +
        "continued pretraining",
    }],
  },
];

/**
 * The published figures of a set, by its task and the words of its path.
 * @param notes of the reading: a set whose splits were drawn here is not the published one
 */
export function publishedFor(
  task: string,
  place: string,
  notes: readonly string[] = [],
): readonly Published[] {
  if (notes.some((note) => note.includes("are drawn for"))) return [];
  const squeezed = place.toLowerCase().replace(/[^a-z0-9]+/g, "");
  return SETS.filter((set) =>
    set.task === task && set.words.every((word) => squeezed.includes(word))
  ).flatMap((set) => set.figures);
}
