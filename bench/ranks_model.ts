/**
 * How long ranks take to exchange a step's gradients, as a formula: on this machine from the speeds
 * of the exchange's pieces, and on machines with many GPUs from what is assumed of those.
 * @module
 */

/** Bytes of gradients per second that each piece of the exchange handles, all ranks at once. */
export interface ExchangeRates {
  /** From the device into the program's memory. */
  read: number;
  /** From the program's memory to the device. */
  write: number;
  /** MPI_Alltoallv: every rank gives each owner its part. */
  deal: number;
  /** Adding the parts of all ranks on the device. */
  sum: number;
  /** MPI_Allgatherv: every owner gives its part to all. */
  gather: number;
}

/**
 * Seconds that `ranks` ranks take to sum `bytes` of gradients and to give the sums to all. A rank deals
 * its gradients out, writes what came to the device and adds it up there; then it gathers all sums
 * and writes them. Meanwhile the next bucket is read, so that the slower of the two counts.
 */
export function exchangeSeconds(bytes: number, ranks: number, rates: ExchangeRates): number {
  const { read, write, deal, sum, gather } = rates;
  const summing = Math.max(1 / read, 1 / deal + 1 / write + 1 / sum);
  const gathering = Math.max(1 / ranks / read, 1 / gather + 1 / write);
  return bytes * (summing + gathering);
}

/** What is assumed of a cluster, in bytes and seconds. */
export interface ClusterAssumptions {
  nodes: number;
  gpusPerNode: number;
  /** Bytes per second between a GPU and its machine's memory, each way. */
  bus: number;
  /** Bytes per second that a core copies between mapped memory and the program's: for reading and writing. */
  readCopy: number;
  writeCopy: number;
  /** Bytes per second that a rank sends to ranks of its own machine. */
  local: number;
  /** Bytes per second that a machine sends to the others, all of its ranks together. */
  network: number;
  /** Bytes per second of a GPU's memory. */
  memory: number;
  /** Seconds that a message takes besides its bytes. */
  latency: number;
  /** Bytes of a bucket. */
  bucket: number;
}

/** What a step costs on a cluster, in seconds. */
export interface ClusterStep {
  /** Forward and backward. */
  computing: number;
  /** Summing gradients at their owners. */
  summing: number;
  /** Giving what owners have to all. */
  gathering: number;
  /** Of computing in the step's whole time, where nothing runs at the same time. */
  efficiency: number;
  /** The same where summing runs beside the backward pass as far as that lasts. */
  overlapped: number;
}

/** The backward pass's share of computing: it multiplies twice for each product of the forward pass. */
const BACKWARD_SHARE = 2 / 3;

/**
 * A step of `tokens` tokens on a cluster whose GPUs compute `tokensPerSecond` each, with `bytes` of
 * gradients. What stays in a machine and what leaves it are sent one after the other.
 */
export function clusterStep(
  bytes: number,
  tokens: number,
  tokensPerSecond: number,
  cluster: ClusterAssumptions,
): ClusterStep {
  const { nodes, gpusPerNode, bus, readCopy, writeCopy, local, network, memory } = cluster;
  const ranks = nodes * gpusPerNode;
  const reading = 1 / bus + 1 / readCopy;
  const writing = 1 / bus + 1 / writeCopy;
  const stays = bytes * (gpusPerNode - 1) / ranks / local;
  const leaves = bytes * gpusPerNode * (ranks - gpusPerNode) / ranks / network;
  const messages = Math.ceil(bytes / cluster.bucket) * (ranks - 1) * cluster.latency;
  const sending = stays + leaves + messages;
  const adding = 3 * bytes / memory; // each part is read, added to another and written
  // As in exchangeSeconds: a bucket is read while the one before it is on its way.
  const summing = Math.max(bytes * reading, bytes * writing + sending + adding);
  const gathering = Math.max(bytes * reading / ranks, bytes * writing + sending);
  const computing = tokens / ranks / tokensPerSecond;
  const shown = Math.max(0, summing - BACKWARD_SHARE * computing);
  return {
    computing,
    summing,
    gathering,
    efficiency: computing / (computing + summing + gathering),
    overlapped: computing / (computing + shown + gathering),
  };
}
