/**
 * An HTTP mirror of NLM's server: HTML listings, `.md5` files, downloads that resume.
 * @module
 */
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { hashFile, removeIfExists } from "../../core/files.ts";
import { formatBytes } from "../../core/reporter.ts";
import { FOLDERS, parseName } from "./names.ts";
import {
  type OnBytes,
  parseMd5,
  shownPlace,
  type Source,
  type SourceFile,
  splitUser,
} from "./source.ts";
import { HttpClient, type HttpOptions, HttpStatusError, LIMITS, RETRIES } from "./http_client.ts";
import { isWholePage, linksOf } from "./listing.ts";

/** What is kept beside an unfinished download, so that it goes on where it stopped. */
interface ResumeNote {
  url: string;
  validator: string;
}

/** Reads from a mirror over HTTP. */
export class HttpSource implements Source {
  readonly remote = true;
  readonly place: string;
  readonly #client: HttpClient;

  constructor(url: string, options: HttpOptions) {
    // The password goes into a header, so that no message and no report can show it.
    const { place, authorization } = withoutUser(url);
    this.place = place.endsWith("/") ? place : place + "/";
    this.#client = new HttpClient(this.place, {
      ...options,
      ...(authorization ? { authorization } : {}),
    });
  }

  async list(signal?: AbortSignal): Promise<SourceFile[]> {
    const files: SourceFile[] = [];
    for (const folder of FOLDERS) {
      try {
        files.push(...await this.#listFolder(folder, signal));
      } catch (error) {
        if (!(error instanceof HttpStatusError && error.status === 404)) throw error;
      }
    }
    if (files.length === 0) {
      throw new UserError(
        `Cannot find PubMed files at ${this.place}: its baseline/ and updatefiles/ list no files ` +
          "named like pubmed26n0001.xml.gz; give the URL that holds those two folders",
      );
    }
    return files;
  }

  async #listFolder(folder: SourceFile["folder"], signal?: AbortSignal): Promise<SourceFile[]> {
    const url = new URL(folder + "/", this.place);
    const html = await this.#client.text(
      url,
      signal,
      LIMITS.listingBytes,
      (text) => isWholePage(text) ? undefined : "the listing is not a whole HTML page",
    );
    const files = new Map<string, SourceFile>();
    const checksums = new Set<string>();
    for (const { target, stamp: text } of linksOf(html)) {
      const fileName = target.replace(/^\.\//, "");
      if (fileName.endsWith(".md5")) checksums.add(fileName.slice(0, -4));
      const name = parseName(fileName);
      const stamp = text.trim().replace(/\s+/g, " ");
      if (name) files.set(fileName, { ...name, folder, fileName, stamp });
    }
    for (const fileName of files.keys()) {
      if (!checksums.has(fileName)) files.delete(fileName); // still being uploaded
    }
    return [...files.values()];
  }

  async md5(file: SourceFile, signal?: AbortSignal): Promise<string> {
    const url = new URL(`${file.folder}/${file.fileName}.md5`, this.place);
    const text = await this.#client.text(
      url,
      signal,
      LIMITS.md5Bytes,
      (body) => parseMd5(body) ? undefined : "there is no MD5 in it",
    );
    return parseMd5(text) ?? "";
  }

  async obtain(
    file: SourceFile,
    md5: string,
    folder: string,
    signal?: AbortSignal,
    onBytes?: OnBytes,
  ): Promise<string> {
    const path = join(folder, file.fileName);
    const partial = path + ".partial";
    if (isFile(path)) {
      if (hashFile(path, "md5") === md5) return path;
      removeIfExists(path);
    }
    Deno.mkdirSync(folder, { recursive: true });
    const url = new URL(`${file.folder}/${file.fileName}`, this.place);
    for (let attempt = 1;; attempt++) {
      await this.#download(url, partial, signal, onBytes);
      const found = hashFile(partial, "md5");
      if (found === md5) break;
      removeIfExists(partial);
      removeIfExists(partial + ".json");
      // The mirror may be in the middle of issuing the file again: its .md5 decides.
      const current = await this.md5(file, signal);
      if (current !== md5) {
        throw new UserError(
          `Cannot take ${url}: it changed while it was being read; run the same command again`,
        );
      }
      if (attempt === RETRIES.wrongMd5) {
        throw new UserError(
          `Cannot verify ${url}: its MD5 is ${found}, its .md5 file says ${md5}, ${attempt} times ` +
            "over; run the same command later or use another mirror",
        );
      }
    }
    Deno.renameSync(partial, path);
    removeIfExists(partial + ".json");
    return path;
  }

  /** Downloads to `partial`, going on where an earlier attempt or an earlier run stopped. */
  async #download(
    url: URL,
    partial: string,
    signal?: AbortSignal,
    onBytes?: OnBytes,
  ): Promise<void> {
    const notePath = partial + ".json";
    await this.#client.retrying(url, signal, async (request) => {
      const note = readNote(notePath, url.href);
      let offset = note ? Deno.statSync(partial).size : 0;
      const headers: Record<string, string> = note && offset > 0
        ? { Range: `bytes=${offset}-`, "If-Range": note.validator }
        : {};
      const response = await request(headers);
      const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
      const validator = strongValidator(response);
      if (
        response.status === 416 || response.status === 206 &&
          (!note || Number(range?.[1]) !== offset || validator !== note.validator)
      ) {
        // What we hold is not a part of what is there now.
        await response.body?.cancel();
        removeIfExists(notePath);
        throw new HttpStatusError(url, 416, true);
      }
      if (response.status !== 206) offset = 0;
      const length = response.headers.get("content-length");
      const total = response.status === 206
        ? range?.[2] === "*" ? undefined : Number(range?.[2])
        : length === null || response.headers.has("content-encoding")
        ? undefined
        : Number(length);
      removeIfExists(notePath);
      if (total !== undefined && total > LIMITS.fileBytes) {
        await response.body?.cancel();
        throw tooLong(url);
      }
      const out = Deno.openSync(partial, { write: true, create: true, truncate: offset === 0 });
      try {
        if (offset > 0) out.seekSync(0, Deno.SeekMode.End);
        if (validator) {
          Deno.writeTextFileSync(notePath, JSON.stringify({ url: url.href, validator }));
        }
        let size = offset;
        onBytes?.(size, total);
        for await (const chunk of this.#client.body(response, signal)) {
          for (let at = 0; at < chunk.length;) at += out.writeSync(chunk.subarray(at));
          size += chunk.length;
          onBytes?.(size, total);
          if (total !== undefined && size > total) break;
          if (size > LIMITS.fileBytes) throw tooLong(url);
        }
        if (total !== undefined && size !== total) {
          if (size > total) removeIfExists(notePath);
          throw new Error(`${size} of ${total} bytes came`);
        }
      } finally {
        out.close();
      }
    });
  }
}

function tooLong(url: URL): UserError {
  return new UserError(
    `Cannot take ${url}: it is longer than ${formatBytes(LIMITS.fileBytes)}, which no file of ` +
      "PubMed's is; use another mirror",
  );
}

/** @throws {UserError} where it is no URL */
function withoutUser(url: string): { place: string; authorization: string } {
  try {
    return splitUser(url);
  } catch {
    throw new UserError(`Cannot read from ${shownPlace(url)}: it is not a URL`);
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** The note beside a partial download of `url`, where there is one that can be used. */
function readNote(path: string, url: string): ResumeNote | undefined {
  try {
    const note = JSON.parse(Deno.readTextFileSync(path)) as ResumeNote;
    const usable = note.url === url && note.validator && isFile(path.replace(/\.json$/, ""));
    return usable ? note : undefined;
  } catch {
    return undefined;
  }
}

/** What If-Range takes: a strong ETag, or a date (which RFC 9110 allows if it is not recent). */
function strongValidator(response: Response): string {
  const etag = response.headers.get("etag") ?? "";
  return etag && !etag.startsWith("W/") ? etag : response.headers.get("last-modified") ?? "";
}
