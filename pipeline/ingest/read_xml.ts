/**
 * A compressed PubMed file as citations: verified, inflated and scanned with flat memory.
 * @module
 */
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { Interrupted, messageOf, UserError } from "../../core/errors.ts";
import { hashFile } from "../../core/files.ts";
import { CitationScanner, type CitationSink } from "../citation/builder.ts";
import type { FieldSelection } from "../citation/elements.ts";
import { XmlError } from "../xml/markup.ts";

const PIECE = 1 << 18;

/** The most XML that one file may hold, in bytes: many times what PubMed's have. */
const MAX_XML_BYTES: number = 2 ** 33;

/**
 * Checks a file against its MD5.
 * @throws {UserError} where they differ or the file is missing.
 */
export function verifyMd5(path: string, md5: string): void {
  let found: string;
  try {
    found = hashFile(path, "md5");
  } catch (error) {
    throw new UserError(`Cannot read ${path}: ${messageOf(error)}`);
  }
  if (found !== md5) {
    throw new UserError(
      `Cannot use ${path}: its MD5 is ${found}, its .md5 file says ${md5}; download both again`,
    );
  }
}

/**
 * Feeds the citations of a `.xml.gz` (or plain `.xml`) file to `sink`.
 * @returns the number of bytes of XML.
 * @param maxBytes more XML than this is refused, since little gzip data can hold very much
 * @throws {UserError} where the gzip data is damaged or the XML is malformed, saying where.
 */
export async function readXml(
  path: string,
  sink: CitationSink,
  fields: FieldSelection,
  signal?: AbortSignal,
  maxBytes: number = MAX_XML_BYTES,
): Promise<number> {
  const scanner = new CitationScanner(sink, fields);
  const file = createReadStream(path, { highWaterMark: PIECE });
  const gunzip = path.endsWith(".gz") ? createGunzip({ chunkSize: PIECE }) : undefined;
  if (gunzip) file.on("error", (error) => gunzip.destroy(error));
  try {
    for await (const chunk of gunzip ? file.pipe(gunzip) : file) {
      scanner.push(chunk as Uint8Array);
      if (scanner.bytesSeen > maxBytes) {
        throw new UserError(
          `Cannot read ${path}: it holds more than ${maxBytes} bytes of XML, which no file of PubMed's ` +
            "does; take it from another mirror",
        );
      }
      if (signal?.aborted) throw new Interrupted();
    }
    scanner.finish();
  } catch (error) {
    throw explainReading(error, path, scanner);
  } finally {
    file.destroy();
    gunzip?.destroy();
  }
  return scanner.bytesSeen;
}

/** What went wrong while `path` was read, as an error that names the file, the place and the remedy. */
export function explainReading(
  error: unknown,
  path: string,
  scanner: Pick<CitationScanner, "lastPmid" | "bytesSeen">,
): unknown {
  if (error instanceof XmlError) {
    const before = scanner.lastPmid ? `after PMID ${scanner.lastPmid}` : "before the first PMID";
    return new UserError(
      `Cannot parse ${path}: malformed XML at byte ${error.offset}, ${before}: ${error.message}; ` +
        "download the file again",
    );
  }
  const code = (error as { code?: string }).code ?? "";
  if (code === "Z_BUF_ERROR") {
    return new UserError(
      `Cannot read ${path}: the gzip data ends too soon, after ${scanner.bytesSeen} bytes of XML; ` +
        "download the file again",
    );
  }
  if (/^Z_/.test(code)) {
    return new UserError(
      `Cannot read ${path}: the gzip data is damaged after ${scanner.bytesSeen} bytes of XML ` +
        `(${messageOf(error)}); download the file again`,
    );
  }
  return error;
}
