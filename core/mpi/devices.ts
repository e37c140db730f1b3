/**
 * Which device each rank computes on, and whether several took the same one. WebGPU takes the first
 * device that a process sees and tells no number or address of it, so that equal devices of a machine
 * are told apart only by how the ranks were started.
 * @module
 */

/**
 * What gives each rank of a machine a device of its own, where it differs between them: the first two
 * choose a device for Vulkan, the others name the devices that a rank was given.
 */
const CHOICE_VARIABLES = [
  "DRI_PRIME",
  "MESA_VK_DEVICE_SELECT",
  "VK_DRIVER_FILES",
  "NVIDIA_VISIBLE_DEVICES",
];

/** Slurm's word that every task has so many devices, which its cgroups hold it to. */
const SLURM_OWN = "SLURM_GPUS_PER_TASK";

/** Every variable that {@linkcode deviceChoiceOf} reads. */
export const DEVICE_CHOICE_VARIABLES: readonly string[] = [...CHOICE_VARIABLES, SLURM_OWN];

/** The device of a rank. */
export interface RankDevice {
  /** Which, from 0. */
  rank: number;
  /** The machine that it runs on. */
  host: string;
  /** The device's name; undefined where none opened. */
  device: string | undefined;
  /** Whether the device is the processor, which ranks may share. */
  cpu: boolean;
  /** What chose the device, as {@linkcode deviceChoiceOf} has it. */
  choice: string;
}

/**
 * What chose this process's device, as text that differs where ranks were given different ones.
 * @param rank so that ranks to which Slurm gave their own differ from each other
 */
export function deviceChoiceOf(
  rank: number,
  get: (name: string) => string | undefined = (name) => Deno.env.get(name),
): string {
  const chosen = CHOICE_VARIABLES.map((name) => `${name}=${get(name) ?? ""}`);
  return get(SLURM_OWN) ? `${SLURM_OWN} of rank ${rank}` : chosen.join(" ");
}

/** What to do about ranks that share a device. */
export const SHARED_DEVICE_REMEDY =
  "give each rank a GPU of its own: one container a rank, srun --gpus-per-task=1 (with " +
  "ConstrainDevices=yes), or another DRI_PRIME=pci-... for each rank";

/**
 * The ranks that have the same GPU as far as can be told: one sentence for each machine and GPU that
 * several have. Nothing is said of processors.
 */
export function sharedDevices(all: readonly RankDevice[]): string[] {
  const onGpus = all.filter(({ device, cpu }) => device !== undefined && !cpu);
  const groups = Map.groupBy(onGpus, (one) => JSON.stringify([one.host, one.device, one.choice]));
  return [...groups.values()].filter((group) => group.length > 1).map((group) => {
    const ranks = group.map(({ rank }) => rank).join(", ");
    const { host, device } = group[0] ?? { host: "", device: "" };
    return `Ranks ${ranks} on ${host} take the same GPU, ${device}, as far as can be told: nothing ` +
      `that they were started with gives them different ones`;
  });
}
