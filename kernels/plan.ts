/**
 * A plan is work recorded once (pipelines, bind groups, copies) and replayed at every step: nothing
 * is allocated per step.
 *
 * A kernel is WGSL with entry point `main`. Its bindings in group 0 are, in order: the uniform
 * `params` where the call has any (static values, written when the plan is built), then `bindings`.
 * @module
 */
import type { Device } from "./device.ts";
import { DeviceError } from "./errors.ts";
import type { Region } from "./layout.ts";
import { describeProgram } from "./wgsl/describe.ts";
import type { Program, ProgramBinding } from "./wgsl/writer.ts";

/** What may be bound: a region as storage (or, marked so, as a uniform), or a texture. */
export type Bound = Region | GPUTextureView | { uniform: Region };

/** One dispatch of a kernel. */
export interface KernelCall {
  /** What it is called in profiles, e.g. "matmul NT". */
  label: string;
  /** A program as {@linkcode WgslWriter} gives it, or WGSL text. */
  code: Program | string;
  /** Static uniform values at binding 0, packed by `uniforms` of wgsl/: where there are any. */
  params?: ArrayBuffer;
  /**
   * What the other bindings are: by the names of the program, which must all be here (other names are
   * passed over), or, for WGSL text, in the order of their numbers.
   */
  bindings: Record<string, Bound | undefined> | Bound[];
  /** Workgroups; see {@linkcode spread} for counts above what one dimension holds. */
  groups: readonly [number, number?, number?] | Spread;
  /** Floating-point operations, for profiles and benchmarks. */
  flop?: number;
  /** Bytes that must move, for profiles and benchmarks. */
  bytes?: number;
}

type Command =
  | {
    kind: "dispatch";
    call: KernelCall;
    groups: [number, number, number];
    pipeline: GPUComputePipeline;
    group: GPUBindGroup;
  }
  | { kind: "copy"; label: string; bytes: number; encode: (encoder: GPUCommandEncoder) => void };

/** Workgroups that a plan lays out over two dimensions, as the device's limit asks. */
export interface Spread {
  /** How many there are at least; kernels check against it. */
  count: number;
}

/**
 * `count` workgroups over two dimensions; kernels take
 * `workgroup_id.x + workgroup_id.y * num_workgroups.x` and check it against the count.
 */
export const spread = (count: number): Spread => ({ count });

/**
 * What a call binds after its static uniform values, in the order of the bindings' numbers.
 * @throws {RangeError} where a program's binding is not among those of the call.
 */
export function boundInOrder({ label, code, params, bindings }: KernelCall): Bound[] {
  if (Array.isArray(bindings)) return bindings;
  if (typeof code === "string") {
    throw new RangeError(`Kernel ${label} is plain text: it binds by number, not by name`);
  }
  return code.bindings.slice(params ? 1 : 0).map(({ name }) => {
    const bound = bindings[name];
    if (!bound) throw new RangeError(`Kernel ${label} needs something bound as ${name}`);
    return bound;
  });
}

/** The workgroups of each dimension. */
function gridOf(groups: KernelCall["groups"], most: number): [number, number, number] {
  if (!("count" in groups)) return [groups[0], groups[1] ?? 1, groups[2] ?? 1];
  const count = Math.max(1, groups.count);
  const y = Math.ceil(count / most);
  return [Math.ceil(count / y), y, 1];
}

/** One dispatch of a replay. Times in milliseconds, from the first dispatch's start. */
export interface KernelTime {
  /** What it computes. */
  label: string;
  /** Milliseconds after the first one. */
  start: number;
  /** Milliseconds that it took. */
  ms: number;
  /** Floating-point operations. */
  flop: number;
  /** Bytes read and written. */
  bytes: number;
}

/** A dispatch as it is planned: what a person reads, or sends in a report of a bug. */
export interface PlannedKernel {
  /** What it is called in profiles. */
  label: string;
  /** The WGSL text that the device compiles. */
  code: string;
  /** What group 0 binds, by ascending number; of a buffer with its bytes. */
  bindings: (ProgramBinding & { binding: number; bytes?: number })[];
  /** Invocations of a workgroup in each dimension. */
  workgroupSize: [number, number, number];
  /** Workgroups in each dimension. */
  groups: [number, number, number];
}

/** Timestamps of a query set: as many as WebGPU allows. */
const QUERIES = 4096;

/** Recorded work; see the module's text. */
export class Plan {
  /** Where it runs. */
  readonly device: Device;
  #commands: Command[] = [];
  #uniforms: GPUBuffer[] = [];

  /** An empty plan. */
  constructor(device: Device) {
    this.device = device;
  }

  /** Appends a dispatch. */
  dispatch(call: KernelCall): void {
    const { gpu, bindingLimit, groupLimit } = this.device;
    const groups = gridOf(call.groups, groupLimit);
    if (groups.some((n) => !(n >= 1 && n <= groupLimit))) {
      throw new DeviceError(
        `Kernel ${call.label} asks for ${groups.join(" x ")} workgroups and WebGPU allows ` +
          `${groupLimit} a dimension; use a smaller batch or sequence length`,
      );
    }
    const bound = boundInOrder(call);
    for (const b of bound) {
      if ("buffer" in b && b.size > bindingLimit) {
        throw new DeviceError(
          `Kernel ${call.label} binds ${b.size} bytes and ${this.device.description} allows ` +
            `${bindingLimit}; use a smaller batch or sequence length`,
        );
      }
    }
    const pipeline = this.device.pipeline(call.label, textOf(call));
    const resources: GPUBindingResource[] = [];
    if (call.params) resources.push({ buffer: this.#uniform(call.params) });
    for (const b of bound) {
      if ("uniform" in b) resources.push(bufferBinding(b.uniform));
      else resources.push("buffer" in b ? bufferBinding(b) : b);
    }
    const group = gpu.createBindGroup({
      label: call.label,
      layout: pipeline.getBindGroupLayout(0),
      entries: resources.map((resource, binding) => ({ binding, resource })),
    });
    this.#commands.push({ kind: "dispatch", call, groups, pipeline, group });
  }

  #uniform(bytes: ArrayBuffer): GPUBuffer {
    const size = Math.ceil(bytes.byteLength / 16) * 16;
    const { buffer } = this.device.allocate("params", size, 64 | 8); // UNIFORM | COPY_DST
    this.device.gpu.queue.writeBuffer(buffer, 0, bytes);
    this.#uniforms.push(buffer);
    return buffer;
  }

  /** Appends a copy between buffers. */
  copy(from: Region, to: Region, bytes: number = Math.min(from.size, to.size)): void {
    this.#commands.push({
      kind: "copy",
      label: "copy",
      bytes,
      encode: (e) => e.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, bytes),
    });
  }

  /** Appends a clear to zero. */
  clear(region: Region): void {
    this.#commands.push({
      kind: "copy",
      label: "clear",
      bytes: region.size,
      encode: (e) => e.clearBuffer(region.buffer, region.offset, region.size),
    });
  }

  /** Appends any other encoder work: copies to textures, query resolution. */
  encode(label: string, bytes: number, encode: (encoder: GPUCommandEncoder) => void): void {
    this.#commands.push({ kind: "copy", label, bytes, encode });
  }

  /** Appends another plan's commands; they are shared, not copied. */
  append(other: Plan): void {
    this.#commands.push(...other.#commands);
  }

  /** How many dispatches and copies it has. */
  get length(): number {
    return this.#commands.length;
  }

  /** Kernels that one replay dispatches. */
  get dispatches(): number {
    return this.#commands.filter((c) => c.kind === "dispatch").length;
  }

  /** The dispatches of one replay, in order, with their programs. */
  kernels(): PlannedKernel[] {
    return this.#commands.flatMap((command) =>
      command.kind === "dispatch" ? [describeCall(command.call, command.groups)] : []
    );
  }

  /** Floating-point operations of one replay, of the kernels whose label matches. */
  flop(matching: RegExp = /./): number {
    let sum = 0;
    for (const c of this.#commands) {
      if (c.kind === "dispatch" && matching.test(c.call.label)) sum += c.call.flop ?? 0;
    }
    return sum;
  }

  /** Bytes that one replay must move, as far as its kernels say. */
  bytes(): number {
    let sum = 0;
    for (const c of this.#commands) sum += (c.kind === "dispatch" ? c.call.bytes : c.bytes) ?? 0;
    return sum;
  }

  /** Encodes the whole plan. */
  record(encoder: GPUCommandEncoder): void {
    let pass: GPUComputePassEncoder | undefined;
    for (const command of this.#commands) {
      if (command.kind === "dispatch") {
        pass ??= encoder.beginComputePass();
        pass.setPipeline(command.pipeline);
        pass.setBindGroup(0, command.group);
        pass.dispatchWorkgroups(...command.groups);
      } else {
        pass?.end();
        pass = undefined;
        command.encode(encoder);
      }
    }
    pass?.end();
  }

  /** Queues one replay. */
  submit(): void {
    const encoder = this.device.gpu.createCommandEncoder();
    this.record(encoder);
    this.device.gpu.queue.submit([encoder.finish()]);
  }

  /**
   * Times each command on its own and sums by label: where a step's time goes.
   * Slow (one submit per command); the sums exceed a real step's time by the submits.
   */
  async profile(): Promise<{ label: string; calls: number; ms: number; flop: number }[]> {
    const sums = new Map<string, { label: string; calls: number; ms: number; flop: number }>();
    const time = async (encode: (e: GPUCommandEncoder) => void) => {
      const encoder = this.device.gpu.createCommandEncoder();
      const start = performance.now();
      encode(encoder);
      this.device.gpu.queue.submit([encoder.finish()]);
      await this.device.idle();
      return performance.now() - start;
    };
    let floor = Infinity;
    for (let i = 0; i < 5; i++) floor = Math.min(floor, await time(() => {}));
    for (const command of this.#commands) {
      const label = command.kind === "dispatch" ? command.call.label : command.label;
      const ms = await time((encoder) => {
        if (command.kind === "copy") return command.encode(encoder);
        const pass = encoder.beginComputePass();
        pass.setPipeline(command.pipeline);
        pass.setBindGroup(0, command.group);
        pass.dispatchWorkgroups(...command.groups);
        pass.end();
      });
      const sum = sums.get(label) ?? { label, calls: 0, ms: 0, flop: 0 };
      sum.calls++;
      sum.ms += Math.max(0, ms - floor);
      if (command.kind === "dispatch") sum.flop += command.call.flop ?? 0;
      sums.set(label, sum);
    }
    return [...sums.values()].sort((a, b) => b.ms - a.ms);
  }

  /**
   * Replays once and says when each dispatch began and ended on the device, by timestamp queries (what
   * lies between are copies and barriers). Each dispatch gets a pass of its own, which costs a little.
   * @throws {DeviceError} where the device has no timestamps.
   */
  async timeline(): Promise<KernelTime[]> {
    if (!this.device.features.has("timestamp-query")) {
      throw new DeviceError(`${this.device.description} gives no timestamps to kernels`);
    }
    const { gpu } = this.device;
    const encoder = gpu.createCommandEncoder();
    const calls = this.#commands.filter((c) => c.kind === "dispatch").map((c) => c.call);
    const sets: GPUQuerySet[] = [];
    for (let left = calls.length; left > 0; left -= QUERIES / 2) {
      const count = 2 * Math.min(left, QUERIES / 2);
      sets.push(gpu.createQuerySet({ type: "timestamp", count }));
    }
    let i = 0;
    for (const command of this.#commands) {
      if (command.kind === "copy") {
        command.encode(encoder);
        continue;
      }
      const querySet = sets[Math.floor(2 * i / QUERIES)];
      if (!querySet) throw new RangeError(`There are no timestamps for dispatch ${i}`);
      const at = 2 * i++ % QUERIES;
      const pass = encoder.beginComputePass({
        timestampWrites: { querySet, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 },
      });
      pass.setPipeline(command.pipeline);
      pass.setBindGroup(0, command.group);
      pass.dispatchWorkgroups(...command.groups);
      pass.end();
    }
    const usage = 0x200 | 4; // QUERY_RESOLVE | COPY_SRC
    const times = this.device.allocate("timestamps", 16 * Math.max(1, calls.length), usage);
    sets.forEach((set, k) =>
      encoder.resolveQuerySet(set, 0, set.count, times.buffer, 8 * QUERIES * k)
    );
    gpu.queue.submit([encoder.finish()]);
    const stamps = new BigUint64Array(await this.device.read(times));
    this.device.free(times);
    sets.forEach((set) => set.destroy());
    const first = stamps[0] ?? 0n;
    const ms = (i: number) => Number((stamps[i] ?? first) - first) / 1e6;
    return calls.map(({ label, flop, bytes }, k) => {
      const start = ms(2 * k);
      const end = ms(2 * k + 1);
      return { label, start, ms: Math.max(0, end - start), flop: flop ?? 0, bytes: bytes ?? 0 };
    });
  }

  /** Frees the plan's own uniforms (not the regions it works on). */
  destroy(): void {
    for (const buffer of this.#uniforms) this.device.free(buffer);
    this.#uniforms = [];
    this.#commands = [];
  }
}

const textOf = ({ code }: KernelCall): string => typeof code === "string" ? code : code.code;

function describeCall(call: KernelCall, groups: [number, number, number]): PlannedKernel {
  const code = textOf(call);
  const { bindings, workgroupSize } = describeProgram(code);
  const sizes = boundInOrder(call).map((bound) => {
    if ("uniform" in bound) return bound.uniform.size;
    return "buffer" in bound ? bound.size : undefined;
  });
  if (call.params) sizes.unshift(call.params.byteLength);
  return {
    label: call.label,
    code,
    bindings: bindings.map((binding) => ({ ...binding, bytes: sizes[binding.binding] })),
    workgroupSize,
    groups,
  };
}

const bufferBinding = ({ buffer, offset, size }: Region): GPUBufferBinding => ({
  buffer,
  offset,
  size,
});
