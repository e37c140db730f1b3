/**
 * `bench gpu`: all that a first look at a GPU should tell, in one command of under eight minutes
 * without arguments or network: Deno's own WebGPU, then Dawn where it is here, each with the adapter,
 * matrix-product peaks, training steps, every kernel and generation; and PyTorch on the same device
 * where it is installed.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { messageOf } from "../core/errors.ts";
import { readJson, writeAtomic } from "../core/files.ts";
import { formatTable, type Reporter } from "../core/reporter.ts";
import { DAWN_PACKAGE, type ProviderName } from "../kernels/providers.ts";
import { presetConfig } from "../model/config.ts";
import { measureProvider, type Scale } from "./gpu_sections.ts";
import { measureTorch } from "./torch_peer.ts";
import type { StepFigures } from "./training_step.ts";

/** Seconds after which a provider begins no further section. PyTorch takes what is left of 480. */
const SECONDS: Record<ProviderName, number> = { deno: 190, dawn: 150 };
/** Seconds after which no peer is asked, and what Dawn's last section may take besides. */
const PEER_SECONDS = 400, GRACE = 45;

/** Runs every section with every provider, or with that of `--provider`. */
export async function benchGpu(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation, began = performance.now();
  const asked = invocation.string("provider") as ProviderName | undefined;
  const file = invocation.string("output"),
    variant = invocation.string("variant") ??
      Deno.env.get("KERNEL_VARIANT");
  const providers: Record<string, unknown> = {}, out: Record<string, unknown> = { providers };
  const write = () => {
    if (file) writeAtomic(file, JSON.stringify(out, null, 1) + "\n");
  };
  const elapsed = () => (performance.now() - began) / 1000;
  const first = asked ?? "deno";
  const { steps, scale } = await measureProvider({
    provider: first,
    variant,
    reporter,
    seconds: invocation.number("seconds") ?? SECONDS[first],
    onSection(figures) {
      providers[first] = figures;
      out.seconds = elapsed();
      write();
    },
  });
  if (asked) return out;
  providers.dawn = await benchDawn(reporter, variant);
  if (elapsed() < PEER_SECONDS) out.pytorch = await benchTorch(reporter, scale, steps, providers);
  else reporter.line("\nPyTorch: left out, the time is up");
  out.seconds = elapsed();
  reporter.line(`\nAll in ${elapsed().toFixed(0)} s`);
  write();
  return out;
}

/**
 * The figures of Dawn, from a process of its own: it is native code, and where it ends badly, or is
 * not here, the other figures stand.
 */
async function benchDawn(
  reporter: Reporter,
  variant: string | undefined,
): Promise<Record<string, unknown>> {
  const file = await Deno.makeTempFile({ suffix: ".json" });
  reporter.line("\nDawn");
  try {
    const command = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--no-lock", "--cached-only", "--allow-all"],
        new URL("../main.ts", import.meta.url).href,
        ...["bench", "gpu", "--provider", "dawn", "--seconds", String(SECONDS.dawn)],
        ...["--output", file, ...variant ? ["--variant", variant] : []],
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      env: { NO_COLOR: "1" },
    });
    const child = command.spawn(), errors: string[] = [];
    const timer = setTimeout(() => child.kill("SIGKILL"), 1000 * (SECONDS.dawn + GRACE));
    const [status] = await Promise.all([
      child.status,
      lines(child.stdout, (line) => reporter.line(line)),
      lines(child.stderr, (line) => errors.push(line)),
    ]);
    clearTimeout(timer);
    const written = readFigures(file);
    if (status.success) return written;
    const error = reasonOf(errors, status.signal);
    reporter.line(`left out: ${error}`);
    return { ...written, error };
  } catch (error) {
    reporter.line(`left out: ${messageOf(error)}`);
    return { error: messageOf(error) };
  } finally {
    await Deno.remove(file);
  }
}

/** Why Dawn's process failed, and what to do. */
function reasonOf(errors: readonly string[], signal: Deno.Signal | null): string {
  const text = errors.join("\n");
  if (/--cached-only/.test(text)) {
    return `Dawn is not here; fetch it once with: deno cache ${DAWN_PACKAGE}`;
  }
  if (signal) return `Dawn's process ended by ${signal}`;
  return errors.findLast((line) => line.trim() !== "") ?? "Dawn's process failed without a word";
}

/** What the process wrote before it ended. */
function readFigures(file: string): Record<string, unknown> {
  try {
    const { providers } = readJson<{ providers: Record<string, unknown> }>(file, "figures");
    return providers.dawn as Record<string, unknown>;
  } catch {
    return {}; // it ended before its first section did
  }
}

async function lines(stream: ReadableStream<Uint8Array>, see: (line: string) => void) {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const part of stream) {
    const all = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = all.pop()!;
    all.forEach(see);
  }
  if (rest) see(rest);
}

/** PyTorch beside the fastest step of the same model and batch by any provider. */
async function benchTorch(
  reporter: Reporter,
  scale: Scale,
  steps: readonly StepFigures[],
  providers: Record<string, unknown>,
): Promise<unknown> {
  reporter.line("\nPyTorch");
  const { preset, batch, length } = scale.torch;
  try {
    const peer = await measureTorch(presetConfig(preset), batch, length);
    if (!peer) {
      reporter.line("left out: python3 with torch and transformers is not here");
      return {};
    }
    const dawn = Object.values(providers.dawn as Record<string, StepFigures>);
    const ours = [...steps, ...dawn].filter((s) => s?.model === preset && s.batch === batch);
    const best = Math.max(...ours.map((s) => s.tokens_per_second));
    reporter.line(formatTable(
      ["transformers", "tokens/s", "this program is"],
      peer.map((p) => [
        p.mode,
        p.tokens_per_second.toFixed(0),
        `${(best / p.tokens_per_second).toFixed(2)}x`,
      ]),
    ));
    return peer;
  } catch (error) {
    reporter.line(`failed: ${messageOf(error)}`);
    return { error: messageOf(error) };
  }
}
