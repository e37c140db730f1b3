/** Measuring which alternatives of the kernels are fastest on a device. @module */
import { type AlternativeName, type Chosen, describeAlternative } from "./alternatives.ts";
import type { Device } from "./device.ts";
import { Plan } from "./plan.ts";
import { timePlan } from "./plan_timing.ts";

/** A kernel, or a pass of several, that alternatives are measured on. */
export interface AlternativeSubject {
  kernel: string;
  pass: string;
  /** Records it. */
  plan: (plan: Plan) => void;
}

/** What one value of an alternative took for one kernel. */
export interface AlternativeFigure {
  alternative: AlternativeName;
  value: number;
  kernel: string;
  /** Milliseconds of one run; absent where it failed. */
  ms?: number;
  /** Why it failed. */
  error?: string;
  isDefault: boolean;
  sameBits: boolean;
}

/** What is measured, and for how long. */
export interface AlternativeTrial {
  subjects: readonly AlternativeSubject[];
  names: readonly AlternativeName[];
  /** Milliseconds for one figure; it takes about four times as much. */
  budgetMs: number;
  /** No further alternative is begun after this (as of performance.now()). */
  until?: number;
  onFigure?(figure: AlternativeFigure): void;
}

/**
 * Measures every value of each alternative, one alternative at a time and the others at their defaults,
 * for each kernel whose program depends on it. A value that the device refuses is told as failed, and
 * the rest goes on. The device's choices are as before at the end.
 */
export async function measureAlternatives(
  device: Device,
  trial: AlternativeTrial,
): Promise<AlternativeFigure[]> {
  const { subjects, names, budgetMs, until = Infinity, onFigure } = trial;
  const before = device.alternatives;
  const figures: AlternativeFigure[] = [];
  try {
    const plain = new Map<AlternativeSubject, string>();
    device.alternatives = {};
    for (const subject of subjects) plain.set(subject, await programsOf(device, subject));
    for (const alternative of names) {
      if (performance.now() > until) break;
      const { values, sameBits } = describeAlternative(alternative);
      for (const subject of subjects) {
        const kernel = [subject.kernel, subject.pass].filter(Boolean).join(", ");
        device.alternatives = { [alternative]: values.at(-1) };
        if (await programsOf(device, subject) === plain.get(subject)) continue;
        for (const value of values) {
          device.alternatives = { [alternative]: value };
          const measured = await timed(device, subject, budgetMs);
          const isDefault = value === values[0];
          const figure = { alternative, value, kernel, ...measured, isDefault, sameBits };
          figures.push(figure);
          onFigure?.(figure);
        }
      }
    }
  } finally {
    device.alternatives = before;
  }
  return figures;
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** The text of a subject's programs with their workgroups: what an alternative changes. */
async function programsOf(device: Device, subject: AlternativeSubject): Promise<string> {
  const plan = new Plan(device);
  try {
    await device.guard(`plan ${subject.kernel}`, () => subject.plan(plan));
    return plan.kernels().map(({ code, groups }) => `${code}\n${groups.join(" ")}`).join("\n");
  } catch (error) {
    return messageOf(error); // which differs from the programs of the default
  } finally {
    plan.destroy();
  }
}

async function timed(
  device: Device,
  subject: AlternativeSubject,
  budgetMs: number,
): Promise<Pick<AlternativeFigure, "ms" | "error">> {
  const plan = new Plan(device);
  try {
    await device.guard(`plan ${subject.kernel}`, () => subject.plan(plan));
    return { ms: await timePlan(plan, budgetMs) };
  } catch (error) {
    device.check(); // a lost device ends the measuring
    return { error: messageOf(error) };
  } finally {
    plan.destroy();
  }
}

/** The share of the default's time that another value must save to be chosen: less may be noise. */
const WORTH = 0.03;

/**
 * The values that were fastest over all kernels together, of the alternatives that give the same bits;
 * those whose default was fastest, or nearly so, are left out.
 */
export function fastestAlternatives(figures: readonly AlternativeFigure[]): Chosen {
  const sums = new Map<AlternativeName, Map<number, number>>();
  for (const { alternative, value, ms = Infinity, sameBits } of figures) {
    if (!sameBits) continue;
    const byValue = sums.get(alternative) ?? new Map<number, number>();
    byValue.set(value, (byValue.get(value) ?? 0) + ms);
    sums.set(alternative, byValue);
  }
  const chosen: Chosen = {};
  for (const [name, byValue] of sums) {
    const usual = byValue.get(describeAlternative(name).values[0] ?? NaN) ?? Infinity;
    const [best] = [...byValue].sort(([, x], [, y]) => x - y);
    if (best && best[1] < (1 - WORTH) * usual) chosen[name] = best[0];
  }
  return chosen;
}
