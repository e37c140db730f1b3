/**
 * The processes of one job, as MPI has them: who this one is, and collectives over bytes. No collective
 * is written here; all are the library's own. Calls that move data run beside the event loop, one at a
 * time, since a library may have been built to be called by one thread at once.
 * @module
 */
import { UserError } from "../errors.ts";
import type { Launch } from "./launch.ts";
import { loadMpi, type MpiHandles, type MpiLibrary, mpiText } from "./library.ts";

/** Bytes of whatever kind. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** MPI_THREAD_SERIALIZED: several threads may call, one at a time. */
const THREAD_SERIALIZED = 2;

/** Most bytes of a collective call: counts are 32 bits wide, and large messages gain nothing. */
const LARGEST_CALL = 1 << 28;

/** The processes of a job. */
export interface Ranks {
  /** This process, from 0. */
  readonly rank: number;
  /** How many there are. */
  readonly size: number;
  /** The library and its version, for messages. */
  readonly library: string;
  /** How the library writes its handles. */
  readonly abi: string;
  /** The name of the machine that this process runs on. */
  readonly host: string;
  /** Seconds that collectives took so far, those of waiting aside. */
  readonly seconds: number;
  /** Seconds that this process waited in `barrier` and `gatherValues` so far. */
  readonly waitingSeconds: number;
  /** Bytes that this process sent to others so far. */
  readonly bytesSent: number;
  /** Returns once every rank has called it. */
  barrier(): Promise<void>;
  /** Gives every rank the bytes of rank `root`; all pass as many. */
  broadcast(bytes: Bytes, root?: number): Promise<void>;
  /** Gives rank r `parts[r]`, and returns what each rank gave this one, by rank. */
  exchange(parts: Bytes[], lengths: number[]): Promise<Bytes[]>;
  /**
   * As `exchange`, with the parts one after another: `sent[r]` bytes of `out` for rank r, and as a
   * result `received[r]` bytes of rank r, in the order of ranks.
   * @param room where they come to, if it is large enough: memory that is new to the process costs as
   *   much time as the exchange
   */
  exchangeBytes(out: Bytes, sent: number[], received: number[], room?: Bytes): Promise<Bytes>;
  /** Fills `whole` on every rank: rank r's part is `[offsets[r], offsets[r] + lengths[r])`, which it passes. */
  gather(own: Bytes, whole: Bytes, offsets: number[], lengths: number[]): Promise<void>;
  /** A plain value of every rank, by rank. */
  gatherValues<T>(value: T): Promise<T[]>;
  /** Ends the whole job at once, with this exit code. */
  abort(code: number): void;
  /** Leaves the job; nothing may be called after it. */
  close(): void;
}

/**
 * Joins the job that this process was started in.
 * @throws {UserError} where no MPI library loads, or it does not answer as the launcher says.
 */
export function joinRanks(launch: Launch): Ranks {
  const failures: string[] = [];
  for (const path of launch.libraries) {
    let library: MpiLibrary;
    try {
      library = loadMpi(path);
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
      continue;
    }
    return new MpiRanks(library, launch);
  }
  throw new UserError(
    `Cannot join the ${launch.size} ranks that ${launch.launcher} started: no MPI library could be ` +
      `loaded (tried ${
        launch.libraries.join(", ")
      }); install the one that mpirun belongs to, or name ` +
      `its file with PUBMAMBA_MPI_LIBRARY (${failures.at(-1)})`,
  );
}

class MpiRanks implements Ranks {
  readonly rank: number;
  readonly size: number;
  readonly library: string;
  readonly abi: string;
  readonly host: string;
  seconds = 0;
  waitingSeconds = 0;
  bytesSent = 0;
  readonly #mpi: MpiLibrary;
  readonly #handles: MpiHandles;
  /** The call in flight, which the next one waits for. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(mpi: MpiLibrary, launch: Launch) {
    this.#mpi = mpi;
    const { functions } = mpi;
    const number = new Int32Array(1);
    this.#check(functions.MPI_Init_thread(null, null, THREAD_SERIALIZED, number), "join the job");
    const handles = mpi.handles();
    this.#handles = handles;
    if ((number[0] ?? 0) < THREAD_SERIALIZED) {
      throw new UserError(
        `Cannot use ${mpi.version}: it was built without support for threads; install a build with it`,
      );
    }
    functions.MPI_Comm_set_errhandler(handles.world, handles.errorsReturn);
    this.#check(functions.MPI_Comm_rank(handles.world, number), "ask for the rank");
    this.rank = number[0] ?? 0;
    this.#check(functions.MPI_Comm_size(handles.world, number), "ask for the number of ranks");
    this.size = number[0] ?? 0;
    const { functions: { MPI_Get_processor_name: nameOf } } = mpi;
    this.host = mpiText((text, length) => nameOf(text, length));
    this.abi = mpi.abi;
    this.library = `${mpi.version} (${mpi.path})`;
    if (this.size !== launch.size || this.rank !== launch.rank) {
      throw new UserError(
        `Cannot join the ranks: ${launch.launcher} says that this is rank ${launch.rank} of ` +
          `${launch.size}, ${this.library} says ${this.rank} of ${this.size}; the library belongs to ` +
          `another MPI: name the right one with PUBMAMBA_MPI_LIBRARY`,
      );
    }
  }

  #check(code: number, what: string): void {
    if (code === 0) return;
    const { functions, version } = this.#mpi;
    const text = mpiText((bytes, length) => functions.MPI_Error_string(code, bytes, length));
    throw new UserError(
      `Cannot ${what} over MPI (${version}): ${
        text || `error ${code}`
      }; look at the other ranks' output`,
    );
  }

  /** Runs a call once the one before it is done. */
  #call(what: string, run: () => Promise<number>, waits = false): Promise<void> {
    const call = this.#last.then(async () => {
      const start = performance.now();
      const code = await run();
      const seconds = (performance.now() - start) / 1000;
      if (waits) this.waitingSeconds += seconds;
      else this.seconds += seconds;
      this.#check(code, what);
    });
    this.#last = call.catch(() => {});
    return call;
  }

  barrier(): Promise<void> {
    const { functions } = this.#mpi;
    const handles = this.#handles;
    return this.#call(
      "wait for the other ranks",
      () => functions.MPI_Barrier(handles.world),
      true,
    );
  }

  async broadcast(bytes: Bytes, root = 0): Promise<void> {
    const { functions } = this.#mpi;
    const handles = this.#handles;
    for (let at = 0; at < bytes.length; at += LARGEST_CALL) {
      const part = bytes.subarray(at, at + LARGEST_CALL);
      if (this.rank === root) this.bytesSent += part.length;
      await this.#call(
        "send to the other ranks",
        () => functions.MPI_Bcast(part, part.length, handles.byte, root, handles.world),
      );
    }
  }

  async exchange(parts: Bytes[], lengths: number[]): Promise<Bytes[]> {
    const sent = parts.map((part) => part.length);
    const out = new Uint8Array(total(sent));
    const sentAt = startsOf(sent);
    parts.forEach((part, r) => out.set(part, sentAt[r]));
    const into = await this.exchangeBytes(out, sent, lengths);
    const receivedAt = startsOf(lengths);
    return lengths.map((length, r) => {
      const start = receivedAt[r] ?? 0;
      return into.subarray(start, start + length);
    });
  }

  async exchangeBytes(
    out: Bytes,
    sent: number[],
    received: number[],
    room?: Bytes,
  ): Promise<Bytes> {
    const { functions } = this.#mpi;
    const handles = this.#handles;
    const coming = total(received);
    const into = room && room.length >= coming ? room.subarray(0, coming) : new Uint8Array(coming);
    this.bytesSent += out.length - (sent[this.rank] ?? 0);
    await this.#call("exchange with the other ranks", () =>
      functions.MPI_Alltoallv(
        out,
        Int32Array.from(sent),
        startsOf(sent),
        handles.byte,
        into,
        Int32Array.from(received),
        startsOf(received),
        handles.byte,
        handles.world,
      ));
    return into;
  }

  gather(own: Bytes, whole: Bytes, offsets: number[], lengths: number[]): Promise<void> {
    return this.#gather(own, whole, { offsets, lengths });
  }

  async #gather(
    own: Bytes,
    whole: Bytes,
    { offsets, lengths }: { offsets: number[]; lengths: number[] },
    waits = false,
  ): Promise<void> {
    const { functions } = this.#mpi;
    const handles = this.#handles;
    this.bytesSent += own.length * (this.size - 1);
    await this.#call("gather from the other ranks", () =>
      functions.MPI_Allgatherv(
        own,
        own.length,
        handles.byte,
        whole,
        Int32Array.from(lengths),
        Int32Array.from(offsets),
        handles.byte,
        handles.world,
      ), waits);
  }

  async gatherValues<T>(value: T): Promise<T[]> {
    const own = new TextEncoder().encode(JSON.stringify(value));
    const sizes = new Uint8Array(4 * this.size);
    const four = { offsets: this.#everyone(4), lengths: this.#all(4) };
    // So few bytes that the time is that of waiting for others to come here.
    await this.#gather(new Uint8Array(Uint32Array.of(own.length).buffer), sizes, four, true);
    const lengths = [...new Uint32Array(sizes.buffer)];
    const offsets = [...startsOf(lengths)];
    const whole = new Uint8Array(total(lengths));
    await this.#gather(own, whole, { offsets, lengths }, true);
    return lengths.map((length, r) => {
      const start = offsets[r] ?? 0;
      return JSON.parse(new TextDecoder().decode(whole.subarray(start, start + length))) as T;
    });
  }

  #everyone(each: number): number[] {
    return Array.from({ length: this.size }, (_, r) => r * each);
  }

  #all(each: number): number[] {
    return Array.from({ length: this.size }, () => each);
  }

  abort(code: number): void {
    this.#mpi.functions.MPI_Abort(this.#handles.world, code);
  }

  close(): void {
    this.#mpi.functions.MPI_Finalize();
  }
}

/** Where each part begins where they lie one after another. */
function startsOf(lengths: readonly number[]): Int32Array<ArrayBuffer> {
  const starts = new Int32Array(lengths.length);
  for (let r = 1; r < lengths.length; r++) {
    starts[r] = (starts[r - 1] ?? 0) + (lengths[r - 1] ?? 0);
  }
  return starts;
}

function total(lengths: readonly number[]): number {
  return lengths.reduce((sum, length) => sum + length, 0);
}
