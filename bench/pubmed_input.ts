/** PubMed files for benchmarks. @module */
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import { nth } from "../core/nth.ts";
import { fromFileUrl, join } from "../core/std.ts";

const FIXTURES = fromFileUrl(new URL("../fixtures/", import.meta.url));
const SYNTHETIC_BYTES = 120e6;

/** A mirror of `copies` baseline files, all of them `input`. */
export function makeMirror(folder: string, input: string, copies: number): string {
  const mirror = join(folder, `mirror-${copies}`);
  Deno.mkdirSync(join(mirror, "baseline"), { recursive: true });
  const data = Deno.readFileSync(input);
  const md5 = createHash("md5").update(data).digest("hex");
  for (let i = 1; i <= copies; i++) {
    const name = `pubmed26n${String(i).padStart(4, "0")}.xml.gz`;
    Deno.writeFileSync(join(mirror, "baseline", name), data);
    Deno.writeTextFileSync(join(mirror, "baseline", name + ".md5"), `MD5(${name})= ${md5}\n`);
  }
  return mirror;
}

/**
 * A comment, a CDATA section, or a whole record: the first two may hold what looks like a record or like
 * its end, so they are passed over as one piece, inside a record too.
 */
const PIECE = new RegExp(
  [
    /<!--[^]*?-->/,
    /<!\[CDATA\[[^]*?\]\]>/,
    /<PubmedArticle>(?:<!--[^]*?-->|<!\[CDATA\[[^]*?\]\]>|(?!<\/PubmedArticle>)[^])*<\/PubmedArticle>/,
  ].map((part) => part.source).join("|"),
  "g",
);

/** One large file out of the fixtures' records, under new PMIDs; the same on every machine. */
export function makeInput(path: string): string {
  const decoder = new TextDecoder();
  const records: string[] = [];
  const names = [...Deno.readDirSync(join(FIXTURES, "mirror/baseline"))].map(({ name }) => name);
  // A folder lists its files in any order.
  for (const name of names.filter((n) => n.endsWith(".gz")).sort()) {
    const xml = decoder.decode(
      gunzipSync(Deno.readFileSync(join(FIXTURES, "mirror/baseline", name))),
    );
    const pieces = xml.match(PIECE) ?? [];
    records.push(...pieces.filter((piece) => piece.startsWith("<PubmedArticle>")));
  }
  const parts = ['<?xml version="1.0" encoding="utf-8"?>\n<PubmedArticleSet>\n'];
  let size = 0;
  for (let i = 0; size < SYNTHETIC_BYTES; i++) {
    const record = nth(records, i % records.length).replace(
      /(<PMID[^>]*>)\d+/,
      (_, tag: string) => tag + (10_000_000 + i),
    );
    parts.push(record, "\n");
    size += record.length;
  }
  parts.push("</PubmedArticleSet>\n");
  Deno.writeFileSync(path, gzipSync(new TextEncoder().encode(parts.join("")), { level: 4 }));
  return path;
}
