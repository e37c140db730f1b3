/**
 * Serves the live page from a thread of its own, so that neither a step nor a reader waits for the
 * other.
 * @module
 */
import { basename, resolve } from "../../core/std.ts";
import { readMetrics, type StepMetrics } from "../training/metrics.ts";
import { readRun } from "../training/run_file.ts";
import { readSamples, type RunSample } from "../training/samples.ts";
import { type RunStatus, WatchServer } from "./server.ts";

/** What the trainer sends. */
export type WatchMessage =
  | { kind: "open"; port: number; run: string }
  | { kind: "began"; step: number; steps: number }
  | { kind: "steps"; metrics: StepMetrics[] }
  | { kind: "sampled"; samples: RunSample[] }
  | { kind: "ended"; state: RunStatus["state"]; text?: string };

/** What it is answered: to "open", and to "ended" once readers were told. */
export type WatchAnswer = { port: number } | { error: string; inUse: boolean } | { closed: true };

/** The part of a worker's scope that is used here. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<WatchMessage>) => void) | null;
  postMessage(answer: WatchAnswer): void;
}

const scope = self as unknown as WorkerScope;
let run = "";
let began = performance.now();
let server: WatchServer | undefined;
let http: Deno.HttpServer | undefined;

function open(port: number): void {
  const watch = server = new WatchServer(basename(resolve(run)));
  const hosts: string[] = [];
  try {
    const listening = http = Deno.serve({
      hostname: "127.0.0.1",
      port,
      onListen: ({ port }) => scope.postMessage({ port }),
      onError: () => new Response("failed\n", { status: 500 }),
    }, (request) => {
      if (!hosts.length) {
        const { port } = listening.addr as Deno.NetAddr;
        hosts.push(`127.0.0.1:${port}`, `localhost:${port}`);
      }
      return watch.handle(request, hosts);
    });
  } catch (error) {
    const inUse = error instanceof Deno.errors.AddrInUse;
    scope.postMessage({ error: error instanceof Error ? error.message : String(error), inUse });
  }
}

/** One line under the title. */
function describe(): string {
  const { parameters, init, device, resumed } = readRun(run);
  return `${parameters.toLocaleString("en")} parameters from ${init}, on ${
    resumed.at(-1)?.device ?? device
  }`;
}

scope.onmessage = ({ data }) => {
  switch (data.kind) {
    case "open":
      run = data.run;
      return open(data.port);
    case "began":
      began = performance.now();
      return server?.began(
        data.steps,
        readMetrics(run, data.step),
        readSamples(run, data.step),
        describe(),
      );
    case "steps":
      return server?.steps(data.metrics);
    case "sampled":
      return server?.sampled(data.samples);
    case "ended": {
      server?.ended(data.state, (performance.now() - began) / 1000, data.text);
      server?.close();
      const done = () => scope.postMessage({ closed: true });
      // Readers get what is on its way to them.
      if (http) http.shutdown().then(done, done);
      else done();
    }
  }
};
