/** The README.md of a model folder: a Hugging Face model card. @module */
import { formatTable } from "../../core/reporter.ts";
import { basename } from "../../core/std.ts";
import { isHubId } from "./hub.ts";

/** What a card tells. */
interface CardFacts {
  /** The model's name. */
  name: string;
  /** The Hugging Face id or folder it was trained on from; undefined for random weights. */
  base: string | undefined;
  /** The base's licence; undefined where it is not known. */
  baseLicense?: string;
  /** What it was trained on; empty for a task's examples. */
  corpora: { name: string; share?: number; citations: boolean }[];
  parameters: number;
  /** Which kind of Mamba it is. */
  kind: "mamba" | "mamba2";
  steps: number;
  /** Positions trained on. */
  tokens: number;
  sequenceLength: number;
  /** Of the moving average that the weights are; absent for weights as trained. */
  averageDecay?: number;
  /** The corpus's manifest, by hash. */
  manifestSha256: string;
  /** The task it was fine-tuned on, where it was. */
  task?: string;
  /** Perplexity a token on held-out documents, where it is known. */
  perplexity?: { value: number; split: string; rows: string };
  /** As the owner of the weights says it, such as "apache-2.0"; a card without one states none. */
  license?: string | undefined;
}

/** The card's text: the front matter that the hub reads, then prose for people. */
export function modelCard(facts: CardFacts): string {
  const { name, base, perplexity, corpora } = facts;
  const loader = facts.kind === "mamba2" ? "Mamba2ForCausalLM" : "MambaForCausalLM";
  const baseName = base === undefined || isHubId(base) ? base : basename(base);
  const ofPubmed = corpora.some((c) => c.citations);
  const front = [
    "---",
    "language: en",
    // What is made from a base has the base's licence; nothing else is stated that nobody said.
    ...(facts.license !== undefined
      ? [`license: ${facts.license}`]
      : base === undefined
      ? []
      : facts.baseLicense === undefined
      ? ["license: other", "license_name: that-of-the-base-model"]
      : [`license: ${facts.baseLicense}`]),
    "library_name: transformers",
    "pipeline_tag: text-generation",
    // PubMed is named where it was trained on, and nowhere else.
    `tags:\n- ${facts.kind}\n- biomedical${ofPubmed ? "\n- pubmed" : ""}`,
    ...(ofPubmed ? ["datasets:\n- ncbi/pubmed"] : []),
    ...(base !== undefined && isHubId(base) ? [`base_model: ${base}`] : []),
    ...(perplexity ? modelIndex(name, perplexity) : []),
    "---",
  ];
  const rows = [
    ["parameters", facts.parameters.toLocaleString("en")],
    ["steps", facts.steps.toLocaleString("en")],
    ["tokens trained on", facts.tokens.toLocaleString("en")],
    ["sequence length", facts.sequenceLength.toLocaleString("en")],
    ...(facts.averageDecay === undefined
      ? []
      : [["weights", `exponential moving average, decay ${facts.averageDecay}`]]),
    ...(perplexity
      ? [
        [`perplexity (${perplexity.split})`, perplexity.value.toFixed(3)],
        ["measured on", perplexity.rows],
      ]
      : []),
  ];
  return [
    ...front,
    "",
    `# ${name}`,
    "",
    facts.task !== undefined
      ? `The Mamba language model ${baseName}, fine-tuned on the task ${facts.task}.`
      : base === undefined
      ? `A Mamba language model trained from random weights on ${corporaText(corpora)}.`
      : `The Mamba language model ${baseName}, trained further on ${corporaText(corpora)}.`,
    "",
    "```",
    formatTable(["", "value"], rows, Infinity), // not by the terminal
    "```",
    "",
    "## Use",
    "",
    "```python",
    `from transformers import AutoTokenizer, ${loader}`,
    "",
    'tokenizer = AutoTokenizer.from_pretrained("this folder")',
    `model = ${loader}.from_pretrained("this folder")`,
    "```",
    "",
    "## Limits",
    "",
    "It continues text and does not know what is true. It is not a medical device and gives no",
    ...(ofPubmed
      ? [
        "medical advice. PubMed's records are provided by the U.S. National Library of Medicine;",
        "abstracts may be under their publishers' copyright.",
      ]
      : ["medical advice."]),
    "",
    `${facts.task === undefined ? "Corpus manifest" : "Data"}: sha256 ${facts.manifestSha256}`,
    "",
  ].join("\n");
}

/** The corpora in words. */
function corporaText(corpora: CardFacts["corpora"]): string {
  const texts = corpora.map(({ name, share, citations }) => {
    const what = citations ? `PubMed's titles and abstracts (${name}` : `the texts of ${name} (`;
    const parts = share === undefined
      ? ""
      : `${citations ? ", " : ""}${(100 * share).toFixed(0)}% of the tokens`;
    return `${what}${parts})`.replace(" ()", "");
  });
  const last = texts.at(-1) ?? "texts";
  return texts.length > 1 ? `${texts.slice(0, -1).join(", ")} and ${last}` : last;
}

function modelIndex(name: string, perplexity: { value: number; split: string }): string[] {
  return [
    "model-index:",
    `- name: ${JSON.stringify(name)}`,
    "  results:",
    "  - task:",
    "      type: text-generation",
    "    dataset:",
    "      name: PubMed",
    "      type: ncbi/pubmed",
    `      split: ${perplexity.split}`,
    "    metrics:",
    "    - type: perplexity",
    `      value: ${perplexity.value}`,
  ];
}
