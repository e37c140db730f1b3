/**
 * The part of Python's pickle format that PyTorch's state dictionaries are made of. Nothing that a
 * pickle names is ever run: a handful of known names stand for plain data, any other is refused.
 * Opcodes as in Python's `pickletools`.
 * @module
 */
import { fail, UserError } from "../../core/errors.ts";

/** A global that a pickle names, such as "torch FloatStorage". */
class PickleGlobal {
  constructor(readonly name: string) {}
}

/** What a pickle can hold here. */
export type PickleValue =
  | null
  | boolean
  | number
  | string
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | PickleGlobal
  | object;

/** What the known names and persistent ids mean. */
export interface PickleMeaning {
  /** The value of calling the global `name`; undefined to refuse it. */
  call(name: string, args: PickleValue[]): PickleValue | undefined;
  /** Whether a global of that name may appear at all. */
  allows(name: string): boolean;
  persistent(id: PickleValue): PickleValue;
}

const MARK = Symbol("mark");

/**
 * Reads one pickle: a program for a machine with a stack and a memory. It is longer than 100 lines
 * because its opcodes stand in one table, in which each is a line or two.
 * @throws {UserError} naming the file for an opcode or a name that is not plain data.
 */
export function readPickle(bytes: Uint8Array, file: string, meaning: PickleMeaning): PickleValue {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const stack: (PickleValue | typeof MARK)[] = [];
  const memo = new Map<number, PickleValue>();
  let at = 0;
  const refuse = (what: string) =>
    new UserError(
      `Cannot load ${file}: its pickle ${what}; only plain tensors are read from pickles, ` +
        `convert it to safetensors where you trust it`,
    );
  const pop = (): PickleValue => {
    const value = stack.pop();
    if (value === undefined || value === MARK) throw refuse("is damaged");
    return value as PickleValue;
  };
  const top = () => {
    const value = pop();
    stack.push(value);
    return value;
  };
  const popMark = (): PickleValue[] => {
    const mark = stack.lastIndexOf(MARK);
    if (mark < 0) throw refuse("is damaged");
    const values = stack.splice(mark) as PickleValue[];
    return values.slice(1);
  };
  const byte = () => bytes[at++] ?? fail("a byte is missing"); // "is damaged", as any error below
  const text = (length: number) => decoder.decode(bytes.subarray(at, at += length));
  const line = () => {
    const end = bytes.indexOf(10, at);
    const value = text(end - at);
    at++;
    return value;
  };
  const long = (length: number) => {
    let value = 0n;
    for (let i = 0; i < length; i++) value |= BigInt(byte()) << BigInt(8 * i);
    return Number(length ? BigInt.asIntN(8 * length, value) : 0n);
  };
  const global = (name: string) => {
    if (!meaning.allows(name)) throw refuse(`names "${name}", which is not run`);
    stack.push(new PickleGlobal(name));
  };
  const set = (pairs: PickleValue[]) => {
    const target = top();
    if (!(target instanceof Map) || pairs.length % 2) throw refuse("is damaged");
    for (let i = 0; i < pairs.length; i += 2) target.set(pairs[i] ?? null, pairs[i + 1] ?? null);
  };
  const append = (values: PickleValue[]) => {
    const target = top();
    if (!Array.isArray(target)) throw refuse("is damaged");
    for (const value of values) target.push(value);
  };
  const recall = (index: number) => {
    if (!memo.has(index)) throw refuse("is damaged");
    stack.push(memo.get(index) ?? null);
  };
  // One instruction; true at the end. The table of all of them is what makes it long.
  const step = (code: number): boolean => {
    switch (String.fromCharCode(code)) {
      case "\x80": // PROTO
        at++;
        break;
      case "\x95": // FRAME
        at += 8;
        break;
      case "(":
        stack.push(MARK);
        break;
      case ".":
        return true;
      case "0":
        pop();
        break;
      case "N":
        stack.push(null);
        break;
      case "\x88":
        stack.push(true);
        break;
      case "\x89":
        stack.push(false);
        break;
      case "J":
        stack.push(view.getInt32(at, true));
        at += 4;
        break;
      case "K":
        stack.push(byte());
        break;
      case "M":
        stack.push(view.getUint16(at, true));
        at += 2;
        break;
      case "\x8a": // LONG1
        stack.push(long(byte()));
        break;
      case "G":
        stack.push(view.getFloat64(at, false));
        at += 8;
        break;
      case "X": {
        const length = view.getUint32(at, true);
        at += 4;
        stack.push(text(length));
        break;
      }
      case "\x8c": // SHORT_BINUNICODE
        stack.push(text(byte()));
        break;
      case ")":
      case "]":
        stack.push([]);
        break;
      case "}":
        stack.push(new Map());
        break;
      case "t":
      case "l":
        stack.push(popMark());
        break;
      case "\x85":
      case "\x86":
      case "\x87": { // TUPLE1 to TUPLE3
        const values = Array.from({ length: code - 0x84 }, pop);
        stack.push(values.reverse());
        break;
      }
      case "q":
        memo.set(byte(), top());
        break;
      case "r":
        memo.set(view.getUint32(at, true), top());
        at += 4;
        break;
      case "\x94": // MEMOIZE
        memo.set(memo.size, top());
        break;
      case "h":
        recall(byte());
        break;
      case "j":
        recall(view.getUint32(at, true));
        at += 4;
        break;
      case "c":
        global(`${line()} ${line()}`);
        break;
      case "\x93": { // STACK_GLOBAL
        const name = pop();
        const module = pop();
        global(`${module} ${name}`);
        break;
      }
      case "Q":
        stack.push(meaning.persistent(pop()));
        break;
      case "R": {
        const args = pop();
        const callee = pop();
        if (!(callee instanceof PickleGlobal) || !Array.isArray(args)) throw refuse("is damaged");
        const value = meaning.call(callee.name, args);
        if (value === undefined) throw refuse(`calls "${callee.name}", which is not run`);
        stack.push(value);
        break;
      }
      case "s": {
        const value = pop();
        const key = pop();
        set([key, value]);
        break;
      }
      case "u":
        set(popMark());
        break;
      case "a":
        append([pop()]);
        break;
      case "e":
        append(popMark());
        break;
      case "b": // BUILD: attributes of a dictionary, such as a state dict's _metadata
        pop();
        if (!(top() instanceof Map)) throw refuse("sets the state of an object");
        break;
      default:
        throw refuse(`has the opcode 0x${code.toString(16)}`);
    }
    return false;
  };
  try {
    while (at < bytes.length) if (step(byte())) return pop();
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw refuse("is damaged");
  }
  throw refuse("ends early");
}
