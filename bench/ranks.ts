/**
 * `bench ranks`: training steps of 1, 2 and 4 ranks under a real mpirun, by their parts; the exchange
 * of a large model's gradients beside a given time of computing; and a formula for it, checked
 * against these figures, of what clusters with many GPUs reach.
 * @module
 */
import type { Invocation } from "../core/cli.ts";
import { formatBytes, formatTable } from "../core/reporter.ts";
import { configOfSizes, type MambaConfig, presetConfig } from "../model/mamba/config.ts";
import { parameterList } from "../model/mamba/parameters.ts";
import { runAsRanks } from "./mpirun.ts";
import {
  type ClusterAssumptions,
  type ClusterStep,
  clusterStep,
  type ExchangeRates,
  exchangeSeconds,
} from "./ranks_model.ts";
import type { RanksReport, RankStep, RankTask } from "./ranks_process.ts";

const PROGRAM = new URL("./ranks_process.ts", import.meta.url);
const COUNTS = [1, 2, 4];
/** Tokens of a step on a cluster, and the efficiency that is aimed at. */
const STEP_TOKENS = 1 << 19;
const GOAL = 0.9;
/** Tokens of mamba-130m per second and GPU: the middle one is 67 TFLOP/s, an H200's peak in f32. */
const GPU_SPEEDS = [50_000, 87_000, 174_000];
/** What is assumed of a server's hardware and is not measured here. */
const SERVER = { bus: 25e9, network: 25e9, memory: 2e12, latency: 5e-6, bucket: 25 << 20 };
/** What the cores of a server are assumed to do where they are faster than this machine's. */
const FAST_CORES = { readCopy: 10e9, writeCopy: 10e9, local: 5e9 };

/** A count of ranks with what was measured of it. */
interface Measured {
  ranks: number;
  report: RanksReport;
}

/** The mean over the ranks. */
const meanOf = (steps: RankStep[], value: (step: RankStep) => number): number =>
  steps.reduce((sum, step) => sum + value(step), 0) / steps.length;

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const ms = (seconds: number): string => `${(1000 * seconds).toFixed(0)} ms`;
const rate = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB/s`;

/** The model whose steps are real; with the size of the exchange, for tests, a tiny one. */
function trainedModel(name: string): { config: MambaConfig; rows: number; length: number } {
  return name === "tiny"
    ? { config: configOfSizes({ hiddenSize: 32, layers: 1, vocabSize: 96 }), rows: 4, length: 16 }
    : {
      config: configOfSizes({ hiddenSize: 256, layers: 8, vocabSize: 4096 }),
      rows: 8,
      length: 256,
    };
}

/** Bytes of a model's gradients in f32. */
const gradientBytes = (config: MambaConfig): number =>
  Math.ceil(parameterList(config).reduce((sum, { size }) => sum + 4 * size, 0) / 512) * 512;

function trainTable(measured: Measured[]): string {
  return formatTable(
    ["ranks", "step", "computing", "in MPI", "waiting", "sent per rank"],
    measured.map(({ ranks, report: { steps } }) => {
      const seconds = meanOf(steps, (step) => step.seconds);
      const calling = meanOf(steps, (step) => step.calling);
      const waiting = meanOf(steps, (step) => step.waiting);
      return [
        String(ranks),
        ms(seconds),
        ms(seconds - calling - waiting),
        ms(calling),
        ms(waiting),
        formatBytes(meanOf(steps, (step) => step.sent)),
      ];
    }),
  );
}

/** A measured exchange beside the formula's. */
interface Checked {
  ranks: number;
  seconds: number;
  /** Of the exchange, without computing and waiting. */
  exchanging: number;
  calling: number;
  waiting: number;
  sent: number;
  efficiency: number;
  formula: number;
  /** The formula's error, of what was measured. */
  error: number;
}

function check(bytes: number, computing: number, { ranks, report }: Measured): Checked {
  const { steps, rates } = report;
  const calling = meanOf(steps, (step) => step.calling);
  const exchanging = calling + meanOf(steps, (step) => step.copying ?? 0);
  const seconds = meanOf(steps, (step) => step.seconds);
  const formula = rates ? exchangeSeconds(bytes, ranks, rates) : NaN;
  return {
    ranks,
    seconds,
    exchanging,
    calling,
    waiting: meanOf(steps, (step) => step.waiting),
    sent: meanOf(steps, (step) => step.sent),
    efficiency: computing / seconds,
    formula,
    error: formula / exchanging - 1,
  };
}

function exchangeTable(computing: number, checked: Checked[]): string {
  return formatTable(
    [
      "ranks",
      "step",
      "exchange",
      "of it in MPI",
      "waiting",
      "sent per rank",
      "efficiency",
      "90 % with",
      "formula",
      "error",
    ],
    checked.map((one) => [
      String(one.ranks),
      ms(one.seconds),
      ms(one.exchanging),
      ms(one.calling),
      ms(one.waiting),
      formatBytes(one.sent),
      percent(one.efficiency),
      `${((one.seconds - computing) * GOAL / (1 - GOAL)).toFixed(1)} s`,
      ms(one.formula),
      percent(one.error),
    ]),
  );
}

/** A rank's cores as measured here with two ranks: each keeps half of a bucket and sends the other half. */
const measuredCores = ({ read, write, deal, gather }: ExchangeRates) => ({
  readCopy: read,
  writeCopy: write,
  local: Math.min(deal, gather) / 2,
});

/** The clusters that are reckoned. */
function clusters(
  rates: ExchangeRates,
): { name: string; cores: string; cluster: ClusterAssumptions }[] {
  const all = { measured: measuredCores(rates), assumed: FAST_CORES };
  return [1, 4].flatMap((nodes) =>
    Object.entries(all).map(([cores, speeds]) => ({
      name: `${nodes} x 8 GPUs`,
      cores,
      cluster: { nodes, gpusPerNode: 8, ...SERVER, ...speeds },
    }))
  );
}

/** A step that is reckoned. */
interface Reckoned extends ClusterStep {
  cluster: string;
  /** Whose speeds the cores have: "measured" or "assumed". */
  cores: string;
  tokens_per_second_of_gpu: number;
}

function reckonedTable(reckoned: Reckoned[]): string {
  return formatTable(
    ["cluster", "cores", "tokens/s", "computing", "summing", "gathering", "efficiency", "overlap"],
    reckoned.map((one) => [
      one.cluster,
      one.cores,
      String(one.tokens_per_second_of_gpu),
      ms(one.computing),
      ms(one.summing),
      ms(one.gathering),
      percent(one.efficiency),
      percent(one.overlapped),
    ]),
  );
}

/** Measures and prints; figures by case. */
export async function benchRanks(invocation: Invocation): Promise<Record<string, unknown>> {
  const { reporter } = invocation;
  const mpirun = invocation.string("mpirun") ?? "mpirun";
  const name = invocation.string("model") ?? "mamba-130m";
  const steps = invocation.requiredNumber("steps");
  const computing = invocation.requiredNumber("compute");
  const run = async (ranks: number, task: RankTask): Promise<Measured> => {
    const report = await runAsRanks(mpirun, ranks, PROGRAM, [JSON.stringify(task)]);
    reporter.log(`${ranks} ${ranks > 1 ? "ranks" : "rank"}: ${task.kind}`);
    return { ranks, report: report as RanksReport };
  };
  const { config, rows, length } = trainedModel(name);
  const trained: Measured[] = [];
  for (const ranks of COUNTS) {
    trained.push(await run(ranks, { kind: "train", config, rows, length, steps }));
  }
  const { device, library } = trained.at(-1)?.report ?? { device: "", library: "" };
  const bytes = gradientBytes(presetConfig(name));
  const exchanged: Measured[] = [];
  for (const ranks of COUNTS.filter((count) => count > 1)) {
    const task: RankTask = { kind: "exchange", bytes, computeSeconds: computing, steps };
    exchanged.push(await run(ranks, task));
  }
  const checked = exchanged.map((one) => check(bytes, computing, one));
  const pair = exchanged[0]?.report.rates;
  const reckoned: Reckoned[] = (pair ? clusters(pair) : []).flatMap(({ name, cores, cluster }) =>
    GPU_SPEEDS.map((speed) => ({
      cluster: name,
      cores,
      tokens_per_second_of_gpu: speed,
      ...clusterStep(bytes, STEP_TOKENS, speed, cluster),
    }))
  );
  reporter.line(`${device}; ${library}`);
  reporter.line(
    `Real steps of ${rows} x ${length} tokens in all, d ${config.hiddenSize}, ` +
      `${config.layers} layers (ranks share this machine's cores):`,
  );
  reporter.line(trainTable(trained));
  reporter.line(
    `The gradients of ${name} (${formatBytes(bytes)}), beside ${computing} s of computing:`,
  );
  reporter.line(exchangeTable(computing, checked));
  if (pair) reporter.line(assumptionsText(pair));
  reporter.line(reckonedTable(reckoned));
  reporter.line(verdict(reckoned));
  return {
    device,
    library,
    train: trained.map(({ ranks, report }) => ({ ranks, steps: report.steps })),
    gradient_bytes: bytes,
    compute_seconds: computing,
    exchange: checked,
    rates: exchanged.map(({ ranks, report }) => ({ ranks, ...report.rates })),
    assumptions: SERVER,
    reckoned,
  };
}

/** What the reckoning rests on, in words. */
function assumptionsText(rates: ExchangeRates): string {
  const { bus, network, memory, latency } = SERVER;
  const { readCopy, writeCopy, local } = measuredCores(rates);
  const fast = FAST_CORES;
  return `Reckoned for ${STEP_TOKENS} tokens per step, with gradients and sums in f32. Cores ` +
    `"measured" are those of 2 ranks in this run: copies of ${
      rate(readCopy)
    } out of mapped memory and ` +
    `${rate(writeCopy)} into it, ${rate(local)} from a rank to another of its machine. Cores ` +
    `"assumed" copy ${rate(fast.readCopy)} and send ${rate(fast.local)}. Assumed of both: ${
      rate(bus)
    } between a ` +
    `GPU and its machine, ${rate(network)} out of a machine, ${rate(memory)} of a GPU's memory, ` +
    `${
      latency * 1e6
    } microseconds per message. tokens/s are one GPU's. "Overlap" lets summing run beside the backward ` +
    "pass, which is two thirds of computing; gathering runs beside nothing.";
}

/** Which of the clusters reach the goal. */
function verdict(reckoned: Reckoned[]): string {
  const best = (one: Reckoned) => Math.max(one.efficiency, one.overlapped);
  return Object.entries(Object.groupBy(reckoned, (one) => `${one.cluster}, cores ${one.cores}`))
    .map(([name, own = []]) => {
      const reach = own.filter((one) => best(one) >= GOAL);
      const most = Math.max(...own.map(best));
      return reach.length === 0
        ? `${name}: at most ${percent(most)}; the goal of ${percent(GOAL)} is not reached.`
        : `${name}: the goal of ${percent(GOAL)} is reached up to ` +
          `${Math.max(...reach.map((one) => one.tokens_per_second_of_gpu))} tokens/s of a GPU` +
          (reach.every((one) => one.efficiency >= GOAL) ? "." : ", with overlap.");
    }).join("\n");
}
