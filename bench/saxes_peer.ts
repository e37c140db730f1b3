/**
 * The work of the citation scanner done with saxes: the same elements, the same texts, the same
 * citations from the same builder; the peer that `bench pipeline` compares with.
 * @module
 */
import { SaxesParser } from "saxes";
import { nth } from "../core/nth.ts";
import { CitationBuilder, type CitationSink } from "../pipeline/citation/builder.ts";
import { elementRules, type FieldSelection } from "../pipeline/citation/elements.ts";
import { ON_CLOSE, ON_OPEN } from "../pipeline/xml/element_tree.ts";
import { normalizeSpace } from "../pipeline/xml/text.ts";

interface PathNode {
  children: Map<string, PathNode>;
  code: number;
  when: number;
}

const newNode = (): PathNode => ({ children: new Map(), code: 0, when: 0 });
const NOWHERE = newNode();

/** Parses XML given in pieces. */
export function parseWithSaxes(
  pieces: Iterable<Uint8Array>,
  fields: FieldSelection,
  sink: CitationSink,
): void {
  const root = newNode();
  const top = newNode();
  const names = new Map<Uint8Array, string>();
  top.children.set("PubmedArticleSet", root);
  for (const { path, code, when } of elementRules(fields)) {
    let node = root;
    for (const name of path.split("/")) {
      const next = node.children.get(name) ?? newNode();
      node.children.set(name, next);
      node = next;
    }
    node.code = code;
    node.when = when;
  }
  const stack: PathNode[] = [top];
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let capturing = 0;
  let text = "";
  let attributes: Record<string, string> = {};
  const builder = new CitationBuilder(sink);
  builder.scanner = {
    attribute(bytes) {
      let name = names.get(bytes);
      if (name === undefined) names.set(bytes, name = new TextDecoder().decode(bytes));
      const value = attributes[name];
      return value === undefined ? undefined : normalizeSpace(value);
    },
    text: {
      read: () => normalizeSpace(text),
      integer: () => /^\s*\d+\s*$/.test(text) ? Number(text) : -1,
    },
  };
  const parser = new SaxesParser({ xmlns: false });
  parser.on("error", (error: Error) => {
    throw error;
  });
  parser.on("opentag", (tag: { name: string; attributes: Record<string, string> }) => {
    const node = nth(stack, stack.length - 1).children.get(tag.name) ?? NOWHERE;
    stack.push(node);
    if (node.when === 0) return;
    attributes = tag.attributes;
    if ((node.when & ON_OPEN) !== 0) builder.open(node.code);
    // Containers of other wanted elements are not captured, only leaves are.
    if ((node.when & ON_CLOSE) !== 0 && node.children.size === 0) {
      capturing = stack.length;
      text = "";
    }
  });
  const onText = (piece: string) => {
    if (capturing > 0) text += piece;
  };
  parser.on("text", onText);
  parser.on("cdata", onText);
  parser.on("closetag", () => {
    const node = nth(stack, stack.length - 1);
    if ((node.when & ON_CLOSE) !== 0) builder.close(node.code, 0, 0, 0, 0);
    if (capturing === stack.length) capturing = 0;
    stack.pop();
  });
  for (const piece of pieces) parser.write(decoder.decode(piece, { stream: true }));
}
