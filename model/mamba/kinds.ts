/**
 * A layer is one of two kinds: this is where that is decided, and what a kind has to say. All else of a
 * model is the same for both.
 * @module
 */
import type { Recurrence } from "../../kernels/self_test.ts";
import type { MambaConfig } from "./config.ts";
import type { DeviceMixer } from "./gpu/mixer.ts";
import { MAMBA1_DEVICE } from "./gpu/mamba1_mixer.ts";
import { MAMBA2_DEVICE } from "./gpu/mamba2_mixer.ts";
import { MAMBA1_PARAMETERS } from "./mamba1_parameters.ts";
import { MAMBA2_PARAMETERS } from "./mamba2_parameters.ts";
import { MAMBA1_REFERENCE } from "./mamba1_reference.ts";
import { MAMBA2_REFERENCE } from "./mamba2_reference.ts";
import type { MixerParameters } from "./mixer_parameters.ts";
import type { ReferenceMixer } from "./reference_mixer.ts";

/** What a kind of layer says of its mixer. */
interface Kind {
  /** As in messages. */
  name: string;
  /** Which recurrence a device is tested for. */
  recurrence: Recurrence;
  parameters: MixerParameters<MambaConfig>;
  /** In float64. */
  reference: ReferenceMixer<MambaConfig>;
  device: DeviceMixer<MambaConfig>;
}

/** Each kind's parts take their own configuration; whoever calls them has chosen by it. */
const KINDS = {
  mamba: {
    name: "Mamba-1",
    recurrence: "selective scan",
    parameters: MAMBA1_PARAMETERS,
    reference: MAMBA1_REFERENCE,
    device: MAMBA1_DEVICE,
  },
  mamba2: {
    name: "Mamba-2",
    recurrence: "state space duality",
    parameters: MAMBA2_PARAMETERS,
    reference: MAMBA2_REFERENCE,
    device: MAMBA2_DEVICE,
  },
};

/** What a model's kind of layer says. */
export const kindOf = ({ kind }: Pick<MambaConfig, "kind">): Kind => KINDS[kind] as unknown as Kind;
