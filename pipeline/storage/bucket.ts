/** A folder in a bucket: files in and out, with errors as sentences. @module */
import { S3Client } from "@bradenmacdonald/s3-lite-client";
import { Interrupted, messageOf, UserError } from "../../core/errors.ts";
import { parseStorage, type StorageAccess } from "./credentials.ts";

/** Objects above this size go up in parts of it. */
const PART_BYTES = 32 << 20;
/** How often a request that the network broke is made again. */
const TRIES = 4;
const FIRST_DELAY_SECONDS = 0.5;

/** How the storage's own refusals are called. */
interface Refusal {
  statusCode?: number;
  code?: string;
}

/** A folder in a bucket. */
export class Bucket {
  readonly #client: InstanceType<typeof S3Client>;
  readonly #prefix: string;
  readonly #bucket: string;

  /** @throws {UserError} where the place or the address makes no sense */
  constructor(
    readonly place: string,
    readonly access: StorageAccess,
    readonly signal?: AbortSignal,
  ) {
    const { bucket, prefix } = parseStorage(place);
    this.#prefix = prefix;
    this.#bucket = bucket;
    try {
      const { endpoint, ...keys } = access;
      this.#client = new S3Client({ ...keys, endPoint: endpoint, bucket, pathStyle: true });
    } catch (error) {
      throw new UserError(`Cannot use ${place} at ${access.endpoint}: ${messageOf(error)}`);
    }
  }

  /** An object's text; undefined where there is none. */
  async text(name: string): Promise<string | undefined> {
    try {
      return await this.#trying(`read ${name} in`, async () => {
        const response = await this.#client.getObject(this.#prefix + name);
        return await response.text();
      });
    } catch (error) {
      if (error instanceof MissingObject) return undefined;
      throw error;
    }
  }

  /** The bytes of an object from `offset` on, as they come; tried once. @throws {UserError} where it is not there */
  async stream(name: string, offset: number): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#explained(
      `read ${name} in`,
      () => this.#client.getPartialObject(this.#prefix + name, { offset, length: 0 }),
    );
    if (!response.body) throw new UserError(`Cannot read ${name} in ${this.place}: it is empty`);
    return response.body;
  }

  /** Size and SHA-256 of an object that {@linkcode put} wrote; undefined where there is none. */
  async stat(name: string): Promise<{ size: number; sha256: string | undefined } | undefined> {
    try {
      const { size, metadata } = await this.#trying(
        `look at ${name} in`,
        () => this.#client.statObject(this.#prefix + name),
      );
      return { size, sha256: metadata["x-amz-meta-sha256"] };
    } catch (error) {
      if (error instanceof MissingObject) return undefined;
      throw error;
    }
  }

  /** Writes an object: whole or not at all. `open` gives the bytes, from their start each time. */
  async put(
    name: string,
    open: () => ReadableStream<Uint8Array> | string,
    { size, sha256 }: { size: number; sha256: string },
  ): Promise<void> {
    await this.#trying(
      `write ${name} to`,
      () =>
        this.#client.putObject(this.#prefix + name, open(), {
          size,
          partSize: PART_BYTES,
          metadata: { "x-amz-meta-sha256": sha256 },
        }),
    );
  }

  /** Tries a request again where the network or the server broke it. */
  async #trying<T>(what: string, action: () => Promise<T>): Promise<T> {
    for (let tries = 1;; tries++) {
      try {
        return await this.#explained(what, action);
      } catch (error) {
        if (!(error instanceof BrokenRequest) || tries === TRIES) throw error;
        const delay = FIRST_DELAY_SECONDS * 2 ** (tries - 1) * 1000;
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
  }

  async #explained<T>(what: string, action: () => Promise<T>): Promise<T> {
    if (this.signal?.aborted) throw new Interrupted("Stopped; the same command goes on from here");
    try {
      return await action();
    } catch (error) {
      throw this.explain(what, error);
    }
  }

  /** What to throw for an error of the client's. */
  explain(what: string, error: unknown): Error {
    if (error instanceof UserError || error instanceof Interrupted) return error;
    if (error instanceof Deno.errors.NotCapable) return error;
    const { statusCode, code } = error as Refusal;
    const at = `Cannot ${what} ${this.place} (${this.access.endpoint})`;
    if (code === "NoSuchBucket") {
      return new UserError(`${at}: there is no bucket "${this.#bucket}"; make it, or name another`);
    }
    if (code === "NoSuchKey" || statusCode === 404) {
      return new MissingObject(`${at}: there is no such object; look at the place's name`);
    }
    if (statusCode === 401 || statusCode === 403) {
      return new UserError(
        `${at}: the storage refuses the key ${this.access.accessKey.slice(0, 4)}... ` +
          `(${
            code ?? statusCode
          }); see to AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the profile, and ` +
          "what the key may do with the bucket",
      );
    }
    if (statusCode !== undefined && statusCode < 500) {
      return new UserError(`${at}: the storage says "${messageOf(error)}" (${code ?? statusCode})`);
    }
    return new BrokenRequest(
      `${at}: ${messageOf(error)}; run the same command again, which goes on from here`,
    );
  }
}

/** There is no such object. */
class MissingObject extends UserError {}

/** The network or the server failed; the same request may go well later. */
export class BrokenRequest extends UserError {}
