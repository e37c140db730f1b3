/** `evaluate perplexity --by`: the loss of held-out documents by what they are. @module */
import { nth } from "../../../core/nth.ts";
import { formatTable } from "../../../core/reporter.ts";
import { documentFacts, type Facet } from "../../../pipeline/facets/document_facts.ts";
import type { MeshBranches } from "../../../pipeline/facets/mesh_tree.ts";
import { type PlacedPiece, readPlacements, type Split } from "../../../pipeline/shards/mod.ts";
import { type OnRow } from "../../training/mod.ts";
import { bootstrapInterval, formatInterval, type Interval } from "../../statistics/mod.ts";

/** Groups of a facet that are shown, but for years: the rest is rare. */
const MOST_GROUPS = 20;

/** The summed loss of one document. */
interface DocumentLoss {
  pmid: number;
  version: number;
  source: string;
  nll: number;
  targets: number;
}

/** The summed loss of one document by its name. */
export interface DocumentTotal {
  id: string;
  /** In nats. */
  nll: number;
  /** Scored tokens. */
  tokens: number;
  /** Bytes of its text in UTF-8, where they are known. */
  bytes?: number;
}

/** The loss of the documents that have something in common. */
export interface GroupLoss {
  group: string;
  documents: number;
  tokens: number;
  perplexity: number;
  /** 95% bootstrap interval of the perplexity, over documents; NaN to NaN where there is one only. */
  interval: Interval;
}

/** Sums the losses of positions by document. */
export class DocumentLosses {
  readonly #pieces: Map<number, PlacedPiece[]>;
  readonly #documents = new Map<string, DocumentLoss>();

  private constructor(pieces: Map<number, PlacedPiece[]>) {
    this.#pieces = pieces;
  }

  /** Reads what lies in the rows of a split. */
  static async open(corpus: string, split: Split): Promise<DocumentLosses> {
    const pieces = new Map<number, PlacedPiece[]>();
    for await (const piece of readPlacements(corpus, split)) {
      const known = pieces.get(piece.row);
      if (known) known.push(piece);
      else pieces.set(piece.row, [piece]);
    }
    return new DocumentLosses(pieces);
  }

  /** To be handed to the evaluation. A document's last position predicts its end: that is its own. */
  readonly onRow: OnRow = (row, losses, targets) => {
    for (const { pmid, version, source, start, length } of this.#pieces.get(row) ?? []) {
      const key = `${pmid}.${version}`;
      let document = this.#documents.get(key);
      if (!document) {
        this.#documents.set(key, document = { pmid, version, source, nll: 0, targets: 0 });
      }
      for (let t = start; t < start + length; t++) {
        if (nth(targets, t) < 0) continue;
        document.nll += nth(losses, t);
        document.targets++;
      }
    }
  };

  /** The loss of every document that was scored, by its name. */
  totals(): DocumentTotal[] {
    return [...this.#documents].map(([id, { nll, targets }]) => ({ id, nll, tokens: targets }));
  }

  /**
   * Groups the documents by their facets, which are read from the corpus.
   * @param branches where MeSH headings stand, for the facet "branch".
   */
  async group(
    corpus: string,
    facets: readonly Facet[],
    branches: MeshBranches = () => [],
  ): Promise<Record<string, GroupLoss[]>> {
    const bySource = Map.groupBy(this.#documents.values(), (d) => d.source);
    const groups = new Map(facets.map((f) => [f, new Map<string, DocumentLoss[]>()]));
    for (const [source, documents] of bySource) {
      const described = await documentFacts(corpus, source, documents, branches);
      for (const document of documents) {
        const facts = described.get(`${document.pmid}.${document.version}`);
        for (const [facet, members] of groups) {
          for (const name of facts?.[facet] ?? ["unknown"]) {
            const known = members.get(name);
            if (known) known.push(document);
            else members.set(name, [document]);
          }
        }
      }
    }
    return Object.fromEntries([...groups].map(([facet, members]) => {
      const rows = [...members].map(([name, list]) => summarize(name, list));
      if (facet === "year") return [facet, rows.sort((a, b) => a.group < b.group ? -1 : 1)];
      rows.sort((a, b) => b.tokens - a.tokens || (a.group < b.group ? -1 : 1));
      return [facet, rows.slice(0, MOST_GROUPS)];
    }));
  }
}

function summarize(group: string, documents: DocumentLoss[]): GroupLoss {
  const perplexity = (chosen: Iterable<DocumentLoss>) => {
    let nll = 0;
    let targets = 0;
    for (const d of chosen) {
      nll += d.nll;
      targets += d.targets;
    }
    return Math.exp(nll / targets);
  };
  const drawn = (indices: Uint32Array) => perplexity(Array.from(indices, (i) => nth(documents, i)));
  return {
    group,
    documents: documents.length,
    tokens: documents.reduce((sum, d) => sum + d.targets, 0),
    perplexity: perplexity(documents),
    interval: bootstrapInterval(documents.length, drawn, { resamples: 1000 }),
  };
}

/** The groups of a facet as a table. */
export function groupTable(facet: string, groups: GroupLoss[]): string {
  return formatTable(
    [facet, "documents", "tokens", "perplexity", "95% interval"],
    groups.map(({ group, documents, tokens, perplexity, interval }) => [
      group,
      documents.toLocaleString("en"),
      tokens.toLocaleString("en"),
      perplexity.toFixed(3),
      formatInterval(interval, 3),
    ]),
  );
}
