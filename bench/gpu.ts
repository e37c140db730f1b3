/**
 * `bench gpu`: all that a first look at a GPU should tell, in one command of under eight minutes
 * without arguments or network: Deno's own WebGPU, then Dawn where it is here, each with the adapter,
 * bandwidth and matrix-product peaks, the scan, training steps, every kernel and generation; and
 * PyTorch on the same device where it is installed.
 *
 * A provider's sections run in a process of their own. Where one of them ends that process, or does not
 * end within its time, it is reported, and another process goes on with the sections after it.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { fail, messageOf } from "../core/errors.ts";
import { exists, readJson, writeAtomic } from "../core/files.ts";
import { formatBytes, formatTable, type Reporter } from "../core/reporter.ts";
import type { ProviderName } from "../kernels/providers.ts";
import { presetConfig } from "../model/mamba/config.ts";
import { runSections, SECTION_PROCESS, type SectionFigures } from "./gpu_process.ts";
import { measureProvider } from "./gpu_sections.ts";
import { measureTorch } from "./torch_peer.ts";
import type { StepFigures } from "./training_step.ts";

/** Seconds after which a provider begins no further section. PyTorch takes what is left of 480. */
const SECONDS: Record<ProviderName, number> = { deno: 200, dawn: 150 };
/** Seconds after which no peer is asked, and of the whole command. */
const PEER_SECONDS = 410;
const ALL_SECONDS = 470;
/** Seconds that a provider's last section may take besides. */
const GRACE = 30;
/** Where figures go that no `--output` is given for. */
const DEFAULT_FILE = "bench-gpu.json";

/** Runs every section with every provider, or with that of `--provider`. */
export async function benchGpu(invocation: Invocation): Promise<Record<string, unknown>> {
  if (Deno.env.get(SECTION_PROCESS)) return await sections(invocation);
  const { reporter, signal } = invocation;
  const began = performance.now();
  const elapsed = () => (performance.now() - began) / 1000;
  const file = invocation.string("output") ?? DEFAULT_FILE;
  const variant = invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT");
  const asked = invocation.string("provider") as ProviderName | undefined;
  const earlier = invocation.boolean("resume") && exists(file)
    ? readJson<{ providers?: Record<string, SectionFigures> }>(file, "figures").providers ?? {}
    : {};
  const providers: Record<string, SectionFigures> = { ...earlier };
  const out: Record<string, unknown> = { providers };
  const only = invocation.list("only").map((word) => word.replaceAll(" ", "_"));
  const write = () => {
    out.seconds = Math.round(elapsed());
    writeAtomic(file, JSON.stringify(out, null, 1) + "\n");
  };
  for (const provider of asked ? [asked] : ["deno", "dawn"] as const) {
    const own = invocation.number("seconds") ?? SECONDS[provider];
    const seconds = Math.min(own, PEER_SECONDS - GRACE - elapsed());
    reporter.line(`\nWebGPU of ${provider}`);
    const known = earlier[provider];
    const given = { provider, variant, seconds, grace: GRACE, reporter, signal, known, only };
    providers[provider] = await runSections(given, (figures) => {
      providers[provider] = figures;
      write();
    });
    write();
  }
  if (elapsed() < PEER_SECONDS) {
    out.pytorch = await benchTorch(reporter, providers, ALL_SECONDS - elapsed());
  } else reporter.line("\nPyTorch: left out, the time is up");
  write();
  const peak = Math.max(
    0,
    ...Object.values(providers).map((p) => Number(p.peak_device_bytes ?? 0)),
  );
  reporter.line(
    `\nAll in ${elapsed().toFixed(0)} s, at most ${
      formatBytes(peak)
    } on the device; figures: ${file}`,
  );
  return out;
}

/** One provider's sections in this process; what is known goes to a file as it comes. */
async function sections(invocation: Invocation): Promise<Record<string, unknown>> {
  const file = invocation.string("output") ?? fail("a process of sections has no output file");
  let all: Record<string, unknown> = {};
  await measureProvider({
    provider: invocation.string("provider") as ProviderName,
    variant: invocation.string("variant") ?? Deno.env.get("KERNEL_VARIANT"),
    reporter: invocation.reporter,
    seconds: invocation.number("seconds") ?? fail("a process of sections has no limit of time"),
    skip: new Set(invocation.list("skip")),
    only: invocation.list("only"),
    onSection(running, figures) {
      all = figures;
      writeAtomic(file, JSON.stringify({ ...figures, running }, null, 1) + "\n");
    },
  });
  return all;
}

/** PyTorch beside the fastest step of the same model and batch by any provider. */
async function benchTorch(
  reporter: Reporter,
  providers: Record<string, SectionFigures>,
  seconds: number,
): Promise<unknown> {
  reporter.line("\nPyTorch");
  try {
    const all = Object.values(providers);
    const torch = all.find((p) => p.torch)?.torch as
      | { preset: string; batch: number; length: number }
      | undefined;
    if (!torch) {
      reporter.line("left out: no step was measured to compare with");
      return {};
    }
    const { preset, batch, length } = torch;
    const peer = await measureTorch(presetConfig(preset), batch, length, seconds);
    if (!peer) {
      reporter.line("left out: python3 with torch and transformers is not here");
      return {};
    }
    const steps = all.flatMap((figures) => Object.values(figures) as Partial<StepFigures>[])
      .filter((s) => s?.model === preset && s.batch === batch && s.tokens_per_second);
    const best = Math.max(...steps.map((s) => s.tokens_per_second ?? 0));
    const ratio = (rate: number | undefined) => rate ? best / rate : undefined;
    const figures = peer.map((p) => ({ ...p, ratio: ratio(p.tokens_per_second) }));
    reporter.line(formatTable(
      ["transformers", "tokens/s", "this program is"],
      figures.map(({ mode, tokens_per_second: rate, error, ratio }) => [
        mode,
        rate?.toFixed(0) ?? `failed: ${error}`,
        ratio ? `${ratio.toFixed(2)}x` : "",
      ]),
    ));
    return figures;
  } catch (error) {
    reporter.line(`failed: ${messageOf(error)}`);
    return { error: messageOf(error) };
  }
}
