/** Lines of a stream of bytes. @module */

/** Turns bytes into lines of text, without their ends. */
export class TextLineStream implements ReadableWritablePair<string, Uint8Array<ArrayBuffer>> {
  readonly readable: ReadableStream<string>;
  readonly writable: WritableStream<Uint8Array<ArrayBuffer>>;

  constructor() {
    const decoder = new TextDecoder();
    let rest = "";
    const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, string>({
      transform(chunk, controller) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) if (line !== "") controller.enqueue(line);
      },
      flush(controller) {
        // A process that was killed in the middle of a line leaves a part of it.
        if (rest.endsWith("}")) controller.enqueue(rest);
      },
    });
    this.readable = readable;
    this.writable = writable;
  }
}
