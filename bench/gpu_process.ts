/** The processes that `bench gpu` runs its sections in. @module */
import { messageOf } from "../core/errors.ts";
import { readJson } from "../core/files.ts";
import type { Reporter } from "../core/reporter.ts";
import { DAWN_PACKAGE, type ProviderName } from "../kernels/providers.ts";

/** Figures by section; of one that failed, `{ error }`. */
export type SectionFigures = Record<string, unknown>;

/** What {@linkcode runSections} takes. */
interface SectionsRequest {
  provider: ProviderName;
  variant: string | undefined;
  /** Seconds after which no further section is begun, and what the last may take besides. */
  seconds: number;
  grace: number;
  /** Of one section, before it is given up: 90 by default. */
  sectionSeconds?: number;
  reporter: Reporter;
  signal: AbortSignal;
  /** Figures of an earlier call: their sections are not run again, unless they failed. */
  known?: SectionFigures;
  /** Only sections whose names hold one of these words. */
  only?: readonly string[];
  /** The program to run; this one's main.ts by default. */
  program?: URL;
}

/** Set in the processes that run sections. */
export const SECTION_PROCESS = "PUBMAMBA_BENCH_SECTIONS";
/** Seconds that one section may take: a driver that hangs takes no more. */
const SECTION_SECONDS = 90;
/** Sections that may end their process before a provider is given up. */
const MOST_DEATHS = 5;

/** Runs a provider's sections; `onFigures` sees all so far after each. */
export async function runSections(
  request: SectionsRequest,
  onFigures: (figures: SectionFigures) => void,
): Promise<SectionFigures> {
  const { reporter, seconds, grace } = request;
  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 1000;
  const file = await Deno.makeTempFile({ suffix: ".json" });
  let figures: SectionFigures = sectionsDone(request.known ?? {});
  const before = figures;
  try {
    for (let deaths = 0; deaths < MOST_DEATHS; deaths++) {
      const left = Math.max(1, Math.floor(seconds - elapsed()));
      await Deno.writeTextFile(file, "{}");
      const skip = Object.keys(figures);
      const soFar = figures;
      const reason = await oneProcess(request, file, left, left + grace, skip, (found) => {
        const { running: _, ...own } = found;
        onFigures({ ...soFar, ...own });
      });
      const { running, ...found } = readFigures(file);
      const peak = Math.max(
        Number(figures.peak_device_bytes ?? 0),
        Number(found.peak_device_bytes ?? 0),
      );
      figures = { ...figures, ...found, ...(peak ? { peak_device_bytes: peak } : {}) };
      for (const [name, value] of Object.entries(before)) figures[name] ??= value;
      if (reason === undefined) break;
      reporter.line(`left out: ${reason}`);
      // Without a section it died before any: so would the next process.
      if (typeof running !== "string" || request.signal.aborted) {
        figures.error = reason;
        break;
      }
      figures[running] = { error: reason };
      onFigures(figures);
      if (elapsed() > seconds) break;
    }
  } catch (error) {
    reporter.line(`left out: ${messageOf(error)}`);
    figures.error = messageOf(error);
  } finally {
    await Deno.remove(file);
  }
  onFigures(figures);
  return figures;
}

/** Sections of an earlier call that have figures; those that failed are tried again. */
function sectionsDone(known: SectionFigures): SectionFigures {
  const failed = (value: unknown) =>
    typeof value === "object" && value !== null && "error" in value;
  return Object.fromEntries(
    Object.entries(known).filter(([name, value]) => name !== "error" && !failed(value)),
  );
}

/** Runs what is left in one process. Why it ended before its time, or undefined. */
async function oneProcess(
  { provider, variant, reporter, signal, program, only, sectionSeconds = SECTION_SECONDS }:
    SectionsRequest,
  file: string,
  seconds: number,
  most: number,
  skip: string[],
  onSection: (found: SectionFigures) => void,
): Promise<string | undefined> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-lock",
      "--cached-only",
      "--allow-all",
      program?.href ?? import.meta.resolve("../main.ts"),
      "bench",
      "gpu",
      "--provider",
      provider,
      "--seconds",
      String(seconds),
      "--output",
      file,
      ...skip.flatMap((name) => ["--skip", name]),
      ...(only ?? []).flatMap((word) => ["--only", word]),
      ...variant ? ["--variant", variant] : [],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1", [SECTION_PROCESS]: "1" },
  }).spawn();
  const errors: string[] = [];
  const began = performance.now();
  let late: string | undefined;
  let since = began;
  let section: unknown;
  const end = (why: string | undefined) => {
    late = why;
    try {
      child.kill("SIGKILL");
    } catch {
      // it has just ended
    }
  };
  const stop = () => end("stopped");
  signal.addEventListener("abort", stop);
  const watch = setInterval(() => {
    const now = performance.now();
    const found = readFigures(file);
    if (found.running !== section) {
      section = found.running;
      since = now;
      // What is measured is kept at once: the whole command may be ended from outside.
      onSection(found);
    }
    if (now - since > 1000 * sectionSeconds) end(`it took longer than ${sectionSeconds} s`);
    else if (now - began > 1000 * most) end("the time is up");
  }, 500);
  const [status] = await Promise.all([
    child.status,
    lines(child.stdout, (line) => reporter.line(line)),
    lines(child.stderr, (line) => errors.push(line)),
  ]);
  clearInterval(watch);
  signal.removeEventListener("abort", stop);
  return late ?? (status.success ? undefined : reasonOf(provider, errors, status.signal));
}

/** Why a process failed, and what to do. */
function reasonOf(
  provider: ProviderName,
  errors: readonly string[],
  signal: Deno.Signal | null,
): string {
  const text = errors.join("\n");
  if (provider === "dawn" && /--cached-only/.test(text)) {
    return `Dawn is not here; fetch it once with: deno cache ${DAWN_PACKAGE}`;
  }
  if (signal) return `the driver ended the process by ${signal}`;
  return errors.findLast((line) => line.trim() !== "") ?? "the process failed without a word";
}

/** What a process has written so far. */
function readFigures(file: string): SectionFigures {
  try {
    return readJson<SectionFigures>(file, "figures");
  } catch {
    return {}; // it ended before its first section did
  }
}

async function lines(stream: ReadableStream<Uint8Array>, see: (line: string) => void) {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const part of stream) {
    const all = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = all.pop() ?? "";
    all.forEach(see);
  }
  if (rest) see(rest);
}
