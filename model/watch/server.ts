/**
 * What the live page is served from: the page itself, and a stream of server-sent events
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html). A reader that connects, for the
 * first time or again, is told everything so far and then what is new.
 * @module
 */
import { formatDuration } from "../../core/reporter.ts";
import { type RunSample, type StepMetrics } from "../training/mod.ts";
import { type CurveColumns, curveColumns } from "../report/mod.ts";
import { History } from "./history.ts";
import { watchPage } from "./page.ts";

/** How a run stands. */
export interface RunStatus {
  state: "starting" | "training" | "finished" | "stopped" | "failed";
  /** More, for people. */
  text: string;
}

/** What a page is told when it connects, and whenever a run begins again. */
interface Everything {
  title: string;
  subtitle: string;
  /** Of the whole run. */
  steps: number;
  columns: CurveColumns;
  samples: RunSample[];
  status: RunStatus;
}

/** Most points that are kept and sent at once. */
const MOST_POINTS = 2000;
/** Most samples that are kept: the last ones. */
const MOST_SAMPLES = 24;
/** Milliseconds between signs of life. */
const PING_EVERY = 15_000;
/** Messages that may wait for a slow reader before it is cut off; it will connect again. */
const MOST_WAITING = 256;

const HEADERS = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; " +
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'",
};

type Reader = ReadableStreamDefaultController<Uint8Array>;

/** The state of a run, and who watches it. */
export class WatchServer {
  readonly #title: string;
  readonly #readers = new Set<Reader>();
  readonly #encoder = new TextEncoder();
  readonly #ping: ReturnType<typeof setInterval>;
  #subtitle = "";
  #steps = 0;
  #history = new History(MOST_POINTS);
  #samples: RunSample[] = [];
  #status: RunStatus = { state: "starting", text: "" };

  constructor(title: string) {
    this.#title = title;
    this.#ping = setInterval(() => this.#sendText(": here\n\n"), PING_EVERY);
  }

  /** Pages that are connected. */
  get readers(): number {
    return this.#readers.size;
  }

  /** The run begins, or begins again, after the steps of `past`. */
  began(steps: number, past: Iterable<StepMetrics>, samples: RunSample[], subtitle: string): void {
    this.#steps = steps;
    this.#subtitle = subtitle;
    this.#history = new History(MOST_POINTS);
    for (const metrics of past) this.#history.add(metrics);
    this.#samples = samples.slice(-MOST_SAMPLES);
    this.#status = { state: "training", text: "" };
    this.#send("everything", this.#everything());
  }

  /** Steps came in. */
  steps(metrics: StepMetrics[]): void {
    for (const one of metrics) this.#history.add(one);
    if (this.#readers.size) this.#send("steps", curveColumns(metrics));
  }

  /** The model wrote something. */
  sampled(samples: RunSample[]): void {
    this.#samples = [...this.#samples, ...samples].slice(-MOST_SAMPLES);
    this.#send("samples", this.#samples);
  }

  /** The run is over; whoever connects later is told so too. */
  ended(state: RunStatus["state"], seconds: number, text = ""): void {
    this.#status = { state, text: text || `after ${formatDuration(seconds)}` };
    this.#send("status", this.#status);
  }

  /** Lets all readers go. */
  close(): void {
    clearInterval(this.#ping);
    for (const reader of [...this.#readers]) this.#drop(reader);
  }

  /** Answers a request; `host` is what the Host header has to be, so that no other site gets in. */
  handle(request: Request, hosts: readonly string[]): Response {
    const { pathname } = new URL(request.url);
    const host = request.headers.get("host") ?? "";
    if (!hosts.includes(host)) return plain(403, `There is no ${host} here`);
    if (request.method !== "GET") return plain(405, "Only GET is answered");
    if (pathname === "/") {
      const headers = { ...HEADERS, "content-type": "text/html; charset=utf-8" };
      return new Response(watchPage(this.#title), { headers });
    }
    if (pathname === "/events") {
      const headers = { ...HEADERS, "content-type": "text/event-stream" };
      return new Response(this.#stream(), { headers });
    }
    return plain(404, `There is no ${pathname}`);
  }

  #stream(): ReadableStream<Uint8Array> {
    let own: Reader;
    return new ReadableStream<Uint8Array>({
      start: (reader) => {
        own = reader;
        this.#readers.add(reader);
        reader.enqueue(this.#encode("everything", this.#everything(), "retry: 1000\n"));
      },
      cancel: () => {
        this.#readers.delete(own);
      },
    }, { highWaterMark: MOST_WAITING });
  }

  #everything(): Everything {
    return {
      title: this.#title,
      subtitle: this.#subtitle,
      steps: this.#steps,
      columns: curveColumns(this.#history.points),
      samples: this.#samples,
      status: this.#status,
    };
  }

  #encode(event: string, data: unknown, head = ""): Uint8Array {
    return this.#encoder.encode(`${head}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  #send(event: string, data: unknown): void {
    if (this.#readers.size) this.#sendBytes(this.#encode(event, data));
  }

  #sendText(text: string): void {
    this.#sendBytes(this.#encoder.encode(text));
  }

  #sendBytes(bytes: Uint8Array): void {
    for (const reader of [...this.#readers]) {
      if ((reader.desiredSize ?? 0) <= 0) this.#drop(reader);
      else reader.enqueue(bytes);
    }
  }

  #drop(reader: Reader): void {
    this.#readers.delete(reader);
    try {
      reader.close();
    } catch {
      // already gone
    }
  }
}

const plain = (status: number, text: string) =>
  new Response(text + "\n", { status, headers: { ...HEADERS, "content-type": "text/plain" } });
