/**
 * Writing what `torch.save` writes of a state dictionary: a zip archive of a pickle, which says where
 * each tensor lies, and of the tensors' bytes. pytorch_file.ts reads it.
 * @module
 */
import { ZipWriter } from "./zip_writer.ts";

/** A tensor of float32 values: those of another tensor of the list, where it says so. */
export interface PytorchTensor {
  name: string;
  shape: readonly number[];
  /** The name of the tensor that it shares its values with, as a tied head does. */
  same?: string;
}

/** A file under construction, which takes the values of its tensors one by one. */
export class PytorchWriter {
  readonly #zip: ZipWriter;
  readonly #stored: PytorchTensor[];
  #next = 0;

  /** Begins a file; `list` holds its tensors in order. */
  constructor(path: string, list: readonly PytorchTensor[]) {
    this.#stored = list.filter(({ same }) => same === undefined);
    this.#zip = new ZipWriter(path);
    this.#zip.add("archive/data.pkl", pickleOf(list, this.#stored.map(({ name }) => name)));
    this.#zip.add("archive/byteorder", new TextEncoder().encode("little"));
  }

  /** Appends the values of the next tensor that has its own. */
  write(values: Float32Array): void {
    const tensor = this.#stored[this.#next];
    if (!tensor || sizeOf(tensor.shape) !== values.length) {
      throw new RangeError(`${values.length} values come, not those of ${tensor?.name}`);
    }
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.#zip.add(`archive/data/${this.#next++}`, bytes);
  }

  /** Gives the file its name. @throws {RangeError} before the last tensor. */
  commit(): void {
    if (this.#next < this.#stored.length) throw new RangeError("The file lacks tensors");
    this.#zip.add("archive/version", new TextEncoder().encode("3\n"));
    this.#zip.commit();
  }

  /** Removes what was written. Harmless after commit. */
  abort(): void {
    this.#zip.abort();
  }
}

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Opcodes of pickle's protocol 2. */
const OP = {
  protocol: 0x80,
  mark: 0x28,
  tuple: 0x74,
  emptyTuple: 0x29,
  reduce: 0x52,
  persistent: 0x51,
  text: 0x58,
  int: 0x4a,
  longBytes: 0x8a,
  global: 0x63,
  false: 0x89,
  setItems: 0x75,
  stop: 0x2e,
} as const;

/** The pickle of an ordered dictionary of tensors. */
function pickleOf(list: readonly PytorchTensor[], stored: readonly string[]): Uint8Array {
  const bytes: number[] = [OP.protocol, 2];
  const utf8 = new TextEncoder();
  const op = (...codes: number[]) => bytes.push(...codes);
  const text = (value: string) => {
    const encoded = utf8.encode(value);
    op(OP.text, ...new Uint8Array(Uint32Array.of(encoded.length).buffer), ...encoded);
  };
  const int = (value: number) => {
    if (value < 2 ** 31) op(OP.int, ...new Uint8Array(Int32Array.of(value).buffer));
    else op(OP.longBytes, 8, ...new Uint8Array(BigInt64Array.of(BigInt(value)).buffer));
  };
  const global = (module: string, name: string) =>
    op(OP.global, ...utf8.encode(`${module}\n${name}\n`));
  const tuple = (values: readonly number[]) => {
    op(OP.mark);
    values.forEach(int);
    op(OP.tuple);
  };
  const orderedDict = () => {
    global("collections", "OrderedDict");
    op(OP.emptyTuple, OP.reduce);
  };
  orderedDict();
  op(OP.mark);
  for (const { name, shape, same } of list) {
    text(name);
    global("torch._utils", "_rebuild_tensor_v2");
    op(OP.mark, OP.mark);
    text("storage");
    global("torch", "FloatStorage");
    text(String(stored.indexOf(same ?? name)));
    text("cpu");
    int(sizeOf(shape));
    op(OP.tuple, OP.persistent);
    int(0);
    tuple(shape);
    tuple(shape.map((_, i) => sizeOf(shape.slice(i + 1))));
    op(OP.false);
    orderedDict();
    op(OP.tuple, OP.reduce);
  }
  op(OP.setItems, OP.stop);
  return Uint8Array.from(bytes);
}
