/**
 * Requests to one host: time-outs, retries with back-off, Retry-After, no redirects elsewhere.
 * @module
 */
import { fail, Interrupted, isDiskFull, messageOf, UserError } from "../../core/errors.ts";

/** How hard to try. */
export const RETRIES = { attempts: 8, wrongMd5: 3, redirects: 5 } as const;

/** The longest answers that are taken, in bytes: many times what NLM's server has ever sent. */
export const LIMITS = { listingBytes: 16 << 20, md5Bytes: 1 << 16, fileBytes: 2 ** 32 } as const;

/** Settings of a mirror; all in seconds. */
export interface HttpOptions {
  /** Longest wait for the next bytes. Default 60. */
  readTimeout?: number;
  /** Longest time for one request. Default 3600. */
  totalTimeout?: number;
  /** First pause before trying again; it doubles up to 64 times this. Default 1. */
  retryDelay?: number;
  /** An e-mail address or URL for the mirror's keepers, sent in the User-Agent. */
  contact?: string;
  /** The value of an Authorization header, for a mirror that asks for a password. */
  authorization?: string;
  /** Told of every attempt that failed and will be repeated. */
  onRetry?: (message: string) => void;
}

/** An answer that is no success. */
export class HttpStatusError extends UserError {
  constructor(url: URL, readonly status: number, readonly again = false, readonly after = 0) {
    super(`Cannot get ${url}: the server answered ${status}`);
  }
}

const STOPPED = "Stopped; the same command goes on from here";

type Request = (headers: Record<string, string>) => Promise<Response>;

const USER_AGENT = "pubmamba/0.1 (PubMed bulk reader";

/** Makes requests to the host of one URL. */
export class HttpClient {
  readonly #origin: string;
  readonly #options:
    & HttpOptions
    & Required<
      Omit<HttpOptions, "onRetry" | "contact" | "authorization">
    >;
  readonly #userAgent: string;
  // One controller per request, so that a stalled body can be ended.
  readonly #controllers = new WeakMap<Response, AbortController>();

  constructor(place: string, options: HttpOptions) {
    try {
      this.#origin = new URL(place).origin;
    } catch {
      throw new UserError(`Cannot read from ${place}: it is not a URL`);
    }
    // It goes into a header of every request, where a line end would begin another header.
    if (options.contact !== undefined && !/^[ -~]*$/.test(options.contact)) {
      throw new UserError(
        `Cannot send the contact ${
          JSON.stringify(options.contact)
        }: it must be an e-mail address or ` +
          "a URL, on one line and in ASCII",
      );
    }
    this.#options = { readTimeout: 60, totalTimeout: 3600, retryDelay: 1, ...options };
    this.#userAgent = `${USER_AGENT}${options.contact ? `; ${options.contact}` : ""})`;
  }

  /**
   * A text of at most `limit` bytes; `reject` may say what is wrong with it, and it is asked for again.
   * @throws {UserError} at once where it is longer.
   */
  text(
    url: URL,
    signal: AbortSignal | undefined,
    limit: number,
    reject: (text: string) => string | undefined,
  ): Promise<string> {
    return this.retrying(url, signal, async (request) => {
      const response = await request({});
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of this.body(response, signal)) {
        parts.push(chunk);
        if ((size += chunk.length) > limit) {
          throw new UserError(
            `Cannot use ${url}: the answer is longer than ${limit} bytes; check the URL given as ` +
              "--source",
          );
        }
      }
      const expected = response.headers.get("content-length");
      if (
        expected !== null && !response.headers.has("content-encoding") &&
        Number(expected) !== size
      ) {
        throw new Error(`${size} of ${expected} bytes came`);
      }
      const text = await new Blob(parts as BlobPart[]).text();
      const wrong = reject(text);
      if (wrong) throw new Error(wrong);
      return text;
    });
  }

  /**
   * Runs `action` until it succeeds: again after network errors, time-outs, 429 and 5xx.
   * @throws {UserError} after the last attempt, or at once for other answers.
   */
  async retrying<T>(
    url: URL,
    signal: AbortSignal | undefined,
    action: (request: Request) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 1;; attempt++) {
      // A signal that fired before is not heard by a request that begins after it.
      if (signal?.aborted) throw new Interrupted(STOPPED);
      try {
        return await action((headers) => this.#request(url, headers, signal));
      } catch (error) {
        if (signal?.aborted) throw new Interrupted(STOPPED);
        if (error instanceof Deno.errors.NotCapable) {
          throw new UserError(`Cannot get ${url}: the program may not (${messageOf(error)})`);
        }
        const status = error instanceof HttpStatusError ? error : undefined;
        if (isDiskFull(error) || error instanceof UserError && !status?.again) throw error;
        if (attempt === RETRIES.attempts) {
          throw new UserError(
            `Cannot get ${url}: ${messageOf(error).replace(/^Cannot get \S+: /, "")}, ${attempt} ` +
              "times over; check the network and the mirror, then run the same command again",
          );
        }
        const backoff = this.#options.retryDelay * 2 ** Math.min(6, attempt - 1);
        // Full jitter between half and the whole, so that many clients do not come back at once.
        const seconds = Math.max(backoff * (0.5 + Math.random() / 2), status?.after ?? 0);
        this.#options.onRetry?.(
          `${messageOf(error)} (${url}); trying again in ${seconds.toFixed(1)} s`,
        );
        await pause(seconds * 1000, signal);
      }
    }
  }

  #ownHeaders(): Record<string, string> {
    const { authorization } = this.#options;
    return {
      "User-Agent": this.#userAgent,
      // The stored file is wanted, not a compression of it that length and Range do not fit.
      "Accept-Encoding": "identity",
      ...(authorization ? { Authorization: authorization } : {}),
    };
  }

  async #request(url: URL, headers: Record<string, string>, signal?: AbortSignal) {
    let target = url;
    for (let hop = 0; hop <= RETRIES.redirects; hop++) {
      const controller = new AbortController();
      const stop = () => controller.abort();
      signal?.addEventListener("abort", stop, { once: true });
      const timer = setTimeout(
        () => controller.abort(new Error(`no answer in ${this.#options.readTimeout} s`)),
        this.#options.readTimeout * 1000,
      );
      let response: Response;
      try {
        response = await fetch(target, {
          redirect: "manual",
          signal: controller.signal,
          headers: { ...this.#ownHeaders(), ...headers },
        });
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener("abort", stop);
      }
      this.#controllers.set(response, controller);
      const location = response.headers.get("location");
      if (response.status >= 300 && response.status < 400 && location) {
        await response.body?.cancel();
        const next = new URL(location, target);
        if (next.origin !== this.#origin) {
          throw new UserError(
            `Cannot get ${url}: the mirror sends on to another host (${next.origin}), which is ` +
              "refused; give that host's URL as --source if you trust it",
          );
        }
        target = next;
        continue;
      }
      if (response.ok || response.status === 416) return response;
      await response.body?.cancel();
      const again = response.status === 429 || response.status === 408 || response.status >= 500;
      throw new HttpStatusError(url, response.status, again, retryAfter(response));
    }
    throw new UserError(`Cannot get ${url}: the mirror redirects in circles`);
  }

  /** The body in pieces, each within the read time-out and all within the total one. */
  async *body(response: Response, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const controller = this.#controllers.get(response) ?? fail("another client's answer");
    const { readTimeout, totalTimeout } = this.#options;
    const stop = () => controller.abort();
    signal?.addEventListener("abort", stop, { once: true });
    const expire = (seconds: number, what: string) =>
      setTimeout(() => controller.abort(new Error(what)), seconds * 1000);
    const total = expire(totalTimeout, `the answer took more than ${totalTimeout} s`);
    let read = expire(readTimeout, `no bytes came for ${readTimeout} s`);
    try {
      for await (const chunk of response.body ?? []) {
        clearTimeout(read);
        yield chunk;
        read = expire(readTimeout, `no bytes came for ${readTimeout} s`);
      }
    } finally {
      clearTimeout(read);
      clearTimeout(total);
      signal?.removeEventListener("abort", stop);
    }
  }
}

/** Retry-After in seconds, given as seconds or as a date; at most ten minutes. */
export function retryAfter(response: Response, now: number = Date.now()): number {
  const value = response.headers.get("retry-after")?.trim() ?? "";
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - now) / 1000;
  return Number.isFinite(seconds) ? Math.min(600, Math.max(0, seconds)) : 0;
}

/** Waits; ends early when `signal` fires. */
function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done, { once: true });
  });
}
