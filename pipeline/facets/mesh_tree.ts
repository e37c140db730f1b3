/**
 * Branches of MeSH. PubMed's XML names headings but not where they stand; NLM publishes that as
 * `mtreesYYYY.bin`, lines of `Heading;Tree number`, and in `descYYYY.xml`, which has ids besides.
 * @module
 */
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { messageOf, UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { XmlError } from "../xml/markup.ts";
import { ElementTree, ON_CLOSE } from "../xml/element_tree.ts";
import { XmlScanner } from "../xml/scanner.ts";

/**
 * Branches of a heading, such as "C04 Neoplasms"; none for one that the file does not have.
 * @param ui the heading's id, such as D009369, which outlives a change of its name.
 */
export type MeshBranches = (heading: string, ui?: string) => readonly string[];

/** What NLM calls its files, as they are or compressed. */
const FILE_NAME = /^(mtrees|desc)(\d{4})(\.bin|\.xml)?(\.gz)?$/i;

/**
 * The newest MeSH tree in a corpus folder: `mtreesYYYY.bin` or `descYYYY.xml`, as it is or with `.gz`.
 * @throws {UserError} saying where to get one, where there is none.
 */
export function findMeshTree(corpus: string): string {
  const rank = (name: string) => {
    const [, kind = "", year = ""] = FILE_NAME.exec(name) ?? [];
    return `${year} ${kind.toLowerCase() === "mtrees" ? 1 : 0}`; // the small file first
  };
  const names = exists(corpus) ? [...Deno.readDirSync(corpus)].map(({ name }) => name) : [];
  const [found] = names.filter((name) => FILE_NAME.test(name))
    .sort((a, b) => rank(a) < rank(b) ? 1 : -1);
  if (found !== undefined) return join(corpus, found);
  const year = new Date().getFullYear();
  throw new UserError(
    `Cannot tell documents apart by MeSH branch: PubMed's files do not say where headings stand; ` +
      `download https://nlmpubs.nlm.nih.gov/projects/mesh/MESH_FILES/meshtrees/mtrees${year}.bin ` +
      `into ${corpus}, or name such a file with --mesh-tree`,
  );
}

/** Takes the entries of a tree file. */
class Entries {
  /** The branches of a heading, by its name and by its id. */
  readonly #codes = new Map<string, Set<string>>();
  readonly #names = new Map<string, string>();

  /** @returns false where the number is no tree number. */
  add(number: string, heading: string, ui?: string): boolean {
    const [, code, rest] = /^([A-Z]\d{2})((?:\.\d+)*)$/.exec(number) ?? [];
    if (code === undefined) return false;
    if (!rest) this.#names.set(code, heading);
    for (const key of [heading, ui]) {
      if (key === undefined) continue;
      const known = this.#codes.get(key);
      if (known) known.add(code);
      else this.#codes.set(key, new Set([code]));
    }
    return true;
  }

  get empty(): boolean {
    return this.#codes.size === 0;
  }

  readonly branches: MeshBranches = (heading, ui) => {
    const codes = this.#codes.get(ui ?? heading) ?? this.#codes.get(heading) ?? [];
    return [...codes].map((code) => `${code} ${this.#names.get(code) ?? ""}`.trim());
  };
}

/**
 * Reads a MeSH tree file of either kind, as it is or compressed with gzip. A branch is the first part
 * of a tree number (C04), with the heading that stands there.
 * @throws {UserError} naming the file, where it cannot be read or is of another kind.
 */
export async function readMeshTree(file: string): Promise<MeshBranches> {
  const entries = new Entries();
  const bad = (what: string) => new UserError(`Cannot use the MeSH tree ${file}: ${what}`);
  try {
    let take: Taker | undefined;
    for await (const chunk of contents(file)) {
      take ??= startsAsXml(chunk) ? xmlTaker(entries) : linesTaker(entries, bad);
      take.push(chunk);
    }
    take?.finish();
  } catch (error) {
    if (error instanceof UserError) throw error;
    if (error instanceof XmlError) throw bad(messageOf(error));
    throw new UserError(`Cannot read the MeSH tree ${file}: ${messageOf(error)}`);
  }
  if (entries.empty) throw bad("it has no headings");
  return entries.branches;
}

/** A file's bytes, inflated where they are gzip's. */
async function* contents(file: string): AsyncGenerator<Uint8Array> {
  const head = new Uint8Array(2);
  {
    using opened = Deno.openSync(file);
    opened.readSync(head);
  }
  const source = createReadStream(file, { highWaterMark: 1 << 18 });
  const zipped = head[0] === 0x1f && head[1] === 0x8b ? createGunzip() : undefined;
  if (zipped) source.on("error", (error) => zipped.destroy(error));
  try {
    for await (const chunk of zipped ? source.pipe(zipped) : source) yield chunk as Uint8Array;
  } finally {
    source.destroy();
    zipped?.destroy();
  }
}

const startsAsXml = (chunk: Uint8Array): boolean =>
  new TextDecoder().decode(chunk.subarray(0, 100)).trimStart().startsWith("<");

/** Takes a file's bytes piece by piece. */
interface Taker {
  push(chunk: Uint8Array): void;
  finish(): void;
}

function linesTaker(entries: Entries, bad: (what: string) => UserError): Taker {
  const decoder = new TextDecoder();
  let rest = "";
  let count = 0;
  const line = (text: string) => {
    count++;
    const trimmed = text.trim();
    const at = trimmed.lastIndexOf(";");
    if (!trimmed || at > 0 && entries.add(trimmed.slice(at + 1), trimmed.slice(0, at))) return;
    throw bad(
      `line ${count} is "${
        trimmed.slice(0, 60)
      }"; NLM's mtrees file has lines like "Neoplasms;C04"`,
    );
  };
  return {
    push(chunk) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n/);
      rest = lines.pop() ?? "";
      lines.forEach(line);
    },
    finish: () => line(rest + decoder.decode()),
  };
}

const RECORD = 1;
const ID = 2;
const NAME = 3;
const NUMBER = 4;
const TREE = new ElementTree([
  { path: "DescriptorRecord", code: RECORD, when: ON_CLOSE },
  { path: "DescriptorRecord/DescriptorUI", code: ID, when: ON_CLOSE },
  { path: "DescriptorRecord/DescriptorName/String", code: NAME, when: ON_CLOSE },
  { path: "DescriptorRecord/TreeNumberList/TreeNumber", code: NUMBER, when: ON_CLOSE },
]);

function xmlTaker(entries: Entries): Taker {
  let ui = "";
  let name = "";
  let numbers: string[] = [];
  const scanner = new XmlScanner(
    TREE,
    {
      open() {},
      close(code, from, to, marks, high) {
        if (code === RECORD) {
          for (const number of numbers) entries.add(number, name, ui);
          [ui, name, numbers] = ["", "", []];
          return;
        }
        const text = scanner.text.read(from, to, marks, high).trim();
        if (code === ID) ui = text;
        if (code === NAME) name = text;
        if (code === NUMBER) numbers.push(text);
      },
    },
    ["DescriptorRecordSet"],
  );
  return scanner;
}
