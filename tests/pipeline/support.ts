/** Small PubMed mirrors for tests: folders and real HTTP servers. @module */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { join } from "../../core/std.ts";
import { exists } from "../../core/files.ts";
import { CitationScanner } from "../../pipeline/citation/builder.ts";
import type { FieldSelection } from "../../pipeline/citation/elements.ts";
import type { Citation, Deletion } from "../../pipeline/citation/types.ts";
import { readCatalogue } from "../../pipeline/corpus.ts";
import { liveDocuments } from "../../pipeline/documents/live_documents.ts";
import type { PrintedDocument } from "../../pipeline/documents/reader.ts";

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A record's XML: enough of it for what a test looks at. */
export function article(
  pmid: number,
  options: { version?: number; title?: string; abstract?: string; extra?: string } = {},
): string {
  const { version = 1, title = `Title ${pmid}.`, abstract = LONG_ABSTRACT, extra = "" } = options;
  return `<PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM"><PMID Version="${version}">` +
    `${pmid}</PMID><Article PubModel="Print"><Journal><JournalIssue CitedMedium="Print"><PubDate>` +
    `<Year>2020</Year><Month>Mar</Month></PubDate></JournalIssue><Title>A journal</Title></Journal>` +
    `<ArticleTitle>${title}</ArticleTitle>` +
    (abstract ? `<Abstract><AbstractText>${abstract}</AbstractText></Abstract>` : "") +
    `<Language>eng</Language><PublicationTypeList><PublicationType UI="D016428">Journal Article` +
    `</PublicationType>${extra}</PublicationTypeList></Article></MedlineCitation></PubmedArticle>`;
}

const LONG_ABSTRACT =
  "We measured the growth of cells for a long time, and found that it depends on " +
  "the temperature, the medium and the patience of the one who measures.";

/** A DeleteCitation's XML. */
export const deletion = (...versions: [pmid: number, version: number][]): string =>
  "<DeleteCitation>" +
  versions.map(([pmid, version]) => `<PMID Version="${version}">${pmid}</PMID>`).join("") +
  "</DeleteCitation>";

/** A document of the given records. */
export const pubmedSet = (...records: string[]): string =>
  `<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD ` +
  `PubMedArticle, 1st January 2025//EN" "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_250101.dtd">` +
  `\n<PubmedArticleSet>\n${records.join("\n")}\n</PubmedArticleSet>\n`;

/** All of a document, parsed. */
export function parse(
  xml: string | Uint8Array,
  fields: FieldSelection = "all",
): { citations: Citation[]; deletions: Deletion[] } {
  const citations: Citation[] = [];
  const deletions: Deletion[] = [];
  const scanner = new CitationScanner({
    citation: (c) => citations.push(c),
    deletions: (d) => deletions.push(...d),
  }, fields);
  scanner.push(typeof xml === "string" ? encode(xml) : xml);
  scanner.finish();
  return { citations, deletions };
}

/** The name of a file of the tests' series. */
export const nameOf = (number: number, year = 26): string =>
  `pubmed${year}n${String(number).padStart(4, "0")}.xml.gz`;

/** The MD5 file that belongs to `data`. */
export const md5File = (name: string, data: Uint8Array): string =>
  `MD5(${name})= ${createHash("md5").update(data).digest("hex")}\n`;

/** Puts a file with its MD5 into a mirror's folder. */
export function putFile(
  root: string,
  folder: "baseline" | "updatefiles",
  number: number,
  xml: string,
  year = 26,
): string {
  const name = nameOf(number, year);
  const data = gzipSync(encode(xml));
  const path = join(root, folder, name);
  Deno.mkdirSync(join(root, folder), { recursive: true });
  Deno.writeFileSync(path, data);
  Deno.writeTextFileSync(path + ".md5", md5File(name, data));
  return path;
}

/** Runs `action` with a fresh folder that is removed afterwards. */
export async function withFolder<T>(action: (folder: string) => Promise<T> | T): Promise<T> {
  const folder = Deno.makeTempDirSync({ prefix: "pubmamba-" });
  try {
    return await action(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** The live documents of a corpus. */
export async function documentsOf(corpus: string): Promise<PrintedDocument[]> {
  const catalogue = readCatalogue(corpus);
  const documents: PrintedDocument[] = [];
  try {
    for await (const document of liveDocuments(corpus, catalogue)) documents.push(document);
  } finally {
    catalogue.close();
  }
  return documents;
}

/** Relative path -> SHA-256 of everything that must not depend on history. */
export function digestOf(corpus: string): Record<string, string> {
  const digest: Record<string, string> = {};
  const walk = (path: string, name: string) => {
    if (!exists(path)) return;
    for (const entry of Deno.readDirSync(path)) {
      const at = join(path, entry.name);
      const inner = `${name}/${entry.name}`;
      if (entry.isDirectory) walk(at, inner);
      else digest[inner] = createHash("sha256").update(Deno.readFileSync(at)).digest("hex");
    }
  };
  for (const sub of ["documents", "rejected", "tokens", "shards"]) walk(join(corpus, sub), sub);
  return Object.fromEntries(Object.entries(digest).sort());
}

/** A page as a web server lists a folder. */
export function listingOf(path: string): string {
  const rows = [...Deno.readDirSync(path)].map((e) => e.name).sort().map((name) =>
    `<a href="${name}">${name}</a>  2026-01-10 14:06  ${Deno.statSync(join(path, name)).size}`
  );
  return `<html><head><title>Index</title></head><body><pre><a href="../">Parent</a>\n${
    rows.join("\n")
  }\n</pre></body></html>\n`;
}

/** What a test's server does with a request before the files are served; undefined: serve. */
export type Fault = (
  request: Request,
  path: string,
) => Response | undefined | Promise<Response | undefined>;

/** A request that a test's server got. */
export interface Seen {
  path: string;
  headers: Headers;
}

/** Serves a mirror's folder over HTTP on loopback, with Range, ETag and If-Range. */
export async function withServer<T>(
  root: string,
  action: (url: string, requests: Seen[]) => Promise<T>,
  fault: Fault = () => undefined,
): Promise<T> {
  const requests: Seen[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const path = decodeURIComponent(new URL(request.url).pathname).slice(1);
    requests.push({ path, headers: new Headers(request.headers) });
    return await fault(request, path) ?? serveFile(request, join(root, path));
  });
  try {
    return await action(`http://127.0.0.1:${(server.addr as Deno.NetAddr).port}/`, requests);
  } finally {
    await server.shutdown();
  }
}

/** An answer as a plain web server gives it. */
export function serveFile(request: Request, path: string): Response {
  if (!exists(path)) return new Response("not found", { status: 404 });
  if (Deno.statSync(path).isDirectory) {
    return new Response(listingOf(path), { headers: { "content-type": "text/html" } });
  }
  const data = Deno.readFileSync(path);
  const etag = `"${createHash("md5").update(data).digest("hex")}"`;
  const range = /^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "");
  const condition = request.headers.get("if-range");
  if (range && (condition === null || condition === etag)) {
    const from = Number(range[1]);
    if (from >= data.length) return new Response(null, { status: 416 });
    return new Response(data.slice(from), {
      status: 206,
      headers: { etag, "content-range": `bytes ${from}-${data.length - 1}/${data.length}` },
    });
  }
  return new Response(data, { headers: { etag, "content-length": String(data.length) } });
}
