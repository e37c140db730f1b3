/** What the hub has and how it comes: `@huggingface/hub`, with its failures in plain words. @module */
import { downloadFile, HubApiError, listFiles, modelInfo } from "@huggingface/hub";
import { messageOf, shown, UserError } from "../../core/errors.ts";

/** Where the hub is and what is known there. */
export interface HubSettings {
  /** HF_ENDPOINT, without a slash at its end. */
  endpoint: string;
  /** HF_TOKEN, or what is kept in the cache. */
  token: string | undefined;
  /** The folder of the cache: HF_HOME. */
  home: string;
}

/** A file of a repository. */
export interface RemoteFile {
  path: string;
  size: number;
  /** Of the whole file, where it is kept as a large one. */
  sha256?: string;
  /** The git blob's SHA-1, of the others. */
  blobId?: string;
}

/** The hub did not answer, so that a cached copy may serve. */
export class HubUnreachable extends UserError {}

/** `fetch` for the library: with the token for the hub's own host alone, and saying who is silent. */
function fetchFrom({ endpoint, token }: HubSettings): typeof fetch {
  return async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    const { origin } = new URL(url);
    const headers = new Headers(init?.headers);
    // Here and not by the library, which refuses tokens of another form than the public hub's.
    if (token && origin === new URL(endpoint).origin) {
      headers.set("authorization", `Bearer ${token}`);
    }
    try {
      const response = await fetch(url, { ...init, headers });
      return new URL(url).pathname.startsWith("/api/") ? limited(response) : response;
    } catch (error) {
      throw new HubUnreachable(
        `Cannot reach ${origin}: ${messageOf(error)}; check the network or HF_ENDPOINT, ` +
          `or download the model's folder and name it`,
      );
    }
  };
}

/** The longest list of files that is read, and the most files of a repository. */
const MAX_ANSWER_BYTES = 1 << 24;
const MAX_FILES = 10_000;

/** What the hub says about a repository, which ends in an error where it goes on for ever. */
function limited(response: Response): Response {
  let size = 0;
  const counting = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      size += chunk.length;
      if (size <= MAX_ANSWER_BYTES) return controller.enqueue(chunk);
      controller.error(
        new UserError(
          `Cannot use ${response.url}: the answer is longer than ${MAX_ANSWER_BYTES} bytes`,
        ),
      );
    },
  });
  const { status, statusText, headers } = response;
  return new Response(response.body?.pipeThrough(counting) ?? null, {
    status,
    statusText,
    headers,
  });
}

/**
 * An object's id, of git (40 digits) or of a large file (64): it becomes the name of a file, so
 * that nothing else may stand there.
 * @throws {UserError} where it is none.
 */
function objectId(id: string | undefined, repository: string, path: string): string | undefined {
  if (id === undefined || /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(id)) return id;
  throw new UserError(
    `Cannot use the model ${repository}: the hub gives ${shown(id)} as the hash of ` +
      `${shown(path)}, which is none`,
  );
}

/**
 * The commit that a revision stands for, and its files.
 * @throws {HubUnreachable} where there is no answer, {UserError} where the hub refuses.
 */
export async function listRepository(
  name: string,
  revision: string,
  settings: HubSettings,
): Promise<{ sha: string; files: RemoteFile[] }> {
  const hub = { hubUrl: settings.endpoint, fetch: fetchFrom(settings) };
  const files: RemoteFile[] = [];
  try {
    const { sha } = await modelInfo({ name, revision, additionalFields: ["sha"], ...hub });
    if (!sha || !/^[\w-]+$/.test(sha)) throw new SyntaxError("no commit");
    const repo = { type: "model" as const, name };
    for await (const entry of listFiles({ repo, revision: sha, recursive: true, ...hub })) {
      const { type, path, size, oid, lfs } = entry;
      if (type === "file") {
        if (!Number.isSafeInteger(size) || size < 0 || files.length === MAX_FILES) {
          throw new SyntaxError("no list of files");
        }
        files.push({
          path,
          size,
          sha256: objectId(lfs?.oid, name, path),
          blobId: lfs ? undefined : objectId(oid, name, path),
        });
      }
    }
    return { sha, files };
  } catch (error) {
    if (error instanceof UserError) throw error;
    const cannot = `Cannot get the model ${name}`;
    if (!(error instanceof HubApiError)) {
      throw new UserError(`${cannot}: ${settings.endpoint} does not speak as a hub`);
    }
    const why: Record<number, string> = {
      401: "it does not exist, or HF_TOKEN is needed to see it",
      403: "access to it has not been granted to HF_TOKEN",
      404: `there is no such model, or no revision ${revision} of it`,
    };
    const status = error.statusCode;
    const kind = status >= 500 ? HubUnreachable : UserError;
    throw new kind(
      `${cannot} from ${settings.endpoint}: ${why[status] ?? `the hub answered ${status}`}`,
    );
  }
}

/** Bytes on their way. */
interface Download {
  /** True where the hub sends the whole file, whatever was asked; known with the first bytes. */
  whole(): boolean;
  body: ReadableStream<Uint8Array>;
}

/**
 * Asks for a file from its byte `from` on.
 * @throws {UserError} from the body, where the hub refuses.
 */
export async function openDownload(
  repository: { name: string; sha: string },
  file: RemoteFile,
  from: number,
  settings: HubSettings,
): Promise<Download> {
  const { name, sha } = repository;
  const { path, size } = file;
  const { endpoint } = settings;
  const url = `${endpoint}/${name}/resolve/${sha}/${path}`;
  const get = fetchFrom(settings);
  let whole = from === 0;
  let refused: Error | undefined;
  const blob = await downloadFile({
    repo: { type: "model", name },
    path,
    revision: sha,
    hubUrl: endpoint,
    xet: false, // whole files, which can be gone on with
    downloadInfo: { size, etag: file.sha256 ?? file.blobId ?? "", url },
    async fetch(input, init) {
      try {
        const response = await get(input, init);
        if (!response.ok) {
          await response.body?.cancel();
          throw new UserError(`Cannot download ${url}: the hub answered ${response.status}`);
        }
        whole = response.status !== 206;
        return response;
      } catch (error) {
        refused = error as Error;
        throw error;
      }
    },
  });
  if (!blob) throw new UserError(`Cannot download ${url}: the hub has no such file`);
  const body = blob.slice(from).stream();
  async function* chunks() {
    try {
      for await (const chunk of body) yield chunk;
    } catch (error) {
      throw refused ?? error; // the library's stream keeps the words only
    }
  }
  return { whole: () => whole, body: ReadableStream.from(chunks()) };
}
