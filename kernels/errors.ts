/** What can go wrong on the device. @module */

/**
 * The device cannot do what was asked: none was found, it is too small, it failed, or it was lost.
 * The message says what is needed, what there is, and what to do.
 */
export class DeviceError extends Error {
  /** The class, for messages. */
  override name = "DeviceError";
  /** True where the device had no memory left for what was asked. */
  readonly outOfMemory: boolean;

  /** An error with a message; `outOfMemory` tells whether the device had no room. */
  constructor(message: string, { outOfMemory = false }: { outOfMemory?: boolean } = {}) {
    super(message);
    this.outOfMemory = outOfMemory;
  }
}
