/**
 * What reads input from elsewhere: each reader with samples of its format, to be mutated. A reader
 * ends well or in an error that is meant for people; whatever else it does is wrong.
 * @module
 */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { zipSync } from "fflate";
import { writeSafetensors } from "../../core/safetensors.ts";
import { join } from "../../core/std.ts";
import { openModelFolder, writeModelFolder } from "../../model/weights/folder.ts";
import { initialParameters } from "../../model/mamba/initialize.ts";
import { openPytorchFile } from "../../model/weights/pytorch_file.ts";
import { openTensorSource } from "../../model/weights/tensor_source.ts";
import {
  parseOverride,
  readConfigFile,
  resolveConfig,
} from "../../model/training/configuration.ts";
import { configFile, recipeNames } from "../../model/training/recipes.ts";
import { readXml } from "../../pipeline/ingest/read_xml.ts";
import { FolderSource } from "../../pipeline/source/folder.ts";
import { HttpSource } from "../../pipeline/source/http.ts";
import { loadTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { XmlError } from "../../pipeline/xml/markup.ts";
import { MINIATURE, MINIATURE_TOKENIZER } from "../model/helpers.ts";
import { Pickler, stridesOf, writePytorchModel } from "../model/weights/pytorch_files.ts";
import { oracle } from "../pipeline/oracle.ts";
import { article, deletion, listingOf, parse, pubmedSet, putFile } from "../pipeline/support.ts";
import { ROOT } from "../shared.ts";
import type { Chance } from "./chance.ts";
import { mutate, mutateJson } from "./mutations.ts";

/** A reader and its samples. */
export interface Subject {
  name: string;
  /** Of a thousand inputs. */
  share: number;
  /** The mutant that `chance` makes. */
  input(chance: Chance): Uint8Array;
  /** Reads it as the program does. */
  read(input: Uint8Array, chance: Chance): Promise<void> | void;
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Makes inputs of JSON texts: mostly with changed values, else with changed bytes or `words` put in. */
const mutantsOf = (samples: string[], words: string[]) => (chance: Chance): Uint8Array =>
  chance.happens(0.7)
    ? encode(mutateJson(chance.of(samples), chance))
    : mutate(encode(chance.of(samples)), chance, words);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Makes the readers; they keep their files in `folder`. `close` ends what they started. */
export function makeSubjects(folder: string): { subjects: Subject[]; close(): Promise<void> } {
  Deno.mkdirSync(folder, { recursive: true });
  const listing = listingSubject(folder);
  const subjects = [
    xmlSubject(),
    gzipSubject(folder),
    md5Subject(folder),
    listing.subject,
    tokenizerSubject(folder),
    safetensorsSubject(folder),
    pickleSubject(folder),
    zipSubject(folder),
    modelConfigSubject(folder),
    trainConfigSubject(folder),
  ];
  return { subjects, close: listing.close };
}

const XML_WORDS = [
  "]]>",
  "<!--",
  "-->",
  "<![CDATA[",
  "&#x0;",
  "&amp",
  "&lt;",
  "<?x",
  "?>",
  "\ufffe",
];
XML_WORDS.push(
  "'",
  '"',
  "--",
  "<PMID>",
  "</PMID>",
  "<DeleteCitation>",
  "<PubmedArticle>",
  "\u0000",
);
XML_WORDS.push("<!DOCTYPE", "<!ENTITY a 'b'>", "[", "]", "<!ELEMENT", " x='", "&#99999999;", "<>");

function xmlSamples(): Uint8Array[] {
  const odd = article(7, {
    title: "\u03b1<i a='>'>\u{1F9EC}</i>&amp;<![CDATA[<b>]]>&#x3b5;<!-- x --><?pi?>",
    version: 3,
  });
  const book = "<PubmedBookArticle><BookDocument><PMID>9</PMID><Book><BookTitle>B</BookTitle>" +
    "</Book></BookDocument></PubmedBookArticle>";
  const doctype = '<?xml version="1.0"?><!DOCTYPE PubmedArticleSet [<!ELEMENT a (b,c?)>\n' +
    "<!-- a comment --><?pi x?><!ATTLIST a b CDATA 'c'>]><PubmedArticleSet></PubmedArticleSet>";
  const sets = [
    pubmedSet(article(1), odd, deletion([1, 1], [2, 2])),
    pubmedSet(odd, book, article(4294967, { version: 12 })),
    pubmedSet(deletion([5, 1])),
    doctype,
  ];
  return sets.map(encode);
}

function xmlSubject(): Subject {
  const samples = xmlSamples();
  return {
    name: "xml",
    share: 300,
    input: (chance) => mutate(chance.of(samples), chance, XML_WORDS),
    read(input, chance) {
      let found: ReturnType<typeof parse>;
      try {
        found = parse(input, chance.happens(0.9) ? "all" : "text");
      } catch (error) {
        if (!(error instanceof XmlError) || error.offset >= 0 && error.offset <= input.length) {
          throw error;
        }
        throw new TypeError(`byte ${error.offset} of ${input.length} is named`);
      }
      // Now and then by the other way too, which is slower.
      if (chance.happens(0.1) && JSON.stringify(parse(input)) !== JSON.stringify(oracle(input))) {
        throw new TypeError(`saxes reads it otherwise: ${JSON.stringify(found).slice(0, 300)}`);
      }
    },
  };
}

function gzipSubject(folder: string): Subject {
  const path = join(folder, "input.xml.gz");
  const xml = xmlSamples();
  const samples = xml.map((bytes) => new Uint8Array(gzipSync(bytes)));
  const bomb = new Uint8Array(gzipSync(new Uint8Array(1 << 20).fill(0x61)));
  const two = [...xml].slice(0, 2).map((bytes) => gzipSync(bytes.subarray(0, 400)));
  samples.push(bomb, new Uint8Array([...two[0] ?? [], ...two[1] ?? []]));
  return {
    name: "gzip",
    share: 100,
    input: (chance) => mutate(chance.of(samples), chance, ["\u001f\u008b", "\u001f", "\u0000"]),
    async read(input) {
      Deno.writeFileSync(path, input);
      await readXml(path, { citation() {}, deletions() {} }, "all");
    },
  };
}

function md5Subject(folder: string): Subject {
  const root = join(folder, "mirror");
  const file = putFile(root, "baseline", 1, pubmedSet(article(1)));
  const hex = createHash("md5").update("a").digest("hex");
  const source = new FolderSource(root);
  const samples = [`MD5(pubmed26n0001.xml.gz)= ${hex}\n`, `${hex}  pubmed26n0001.xml.gz\n`, hex]
    .map(encode);
  return {
    name: "md5",
    share: 100,
    input: (chance) => mutate(chance.of(samples), chance, ["MD5(", ")= ", "\r\n", "\u00a0", " = "]),
    async read(input) {
      Deno.writeFileSync(file + ".md5", input);
      const [first] = await source.list();
      if (!first) throw new TypeError("the mirror's only file is gone");
      const md5 = await source.md5(first);
      if (!/^[0-9a-f]{32}$/.test(md5)) throw new TypeError(`"${md5}" was taken for an MD5`);
    },
  };
}

function listingSubject(folder: string): { subject: Subject; close(): Promise<void> } {
  const root = join(folder, "listed");
  for (let number = 1; number <= 4; number++) {
    putFile(root, "baseline", number, pubmedSet(article(number)));
  }
  const sample = encode(listingOf(join(root, "baseline")));
  const words = ["<a href=", "</a>", "href=a ", "</html>", "../", "pubmed26n0007.xml.gz", "'", '"'];
  let body = new Uint8Array();
  let status = 200;
  let headers: Record<string, string> = {};
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    () => new Response(status === 204 ? null : body, { status, headers }),
  );
  const url = `http://127.0.0.1:${(server.addr as Deno.NetAddr).port}/`;
  const subject: Subject = {
    name: "listing",
    share: 60,
    input: (chance) => mutate(sample, chance, words),
    async read(input, chance) {
      body = input.slice();
      status = chance.happens(0.9) ? 200 : chance.of([204, 301, 404, 416, 500, 503, 599]);
      headers = chance.happens(0.9) ? { "content-type": "text/html" } : chance.of([
        { "content-encoding": "gzip" },
        { "content-type": "application/octet-stream" },
        { location: "http://[" },
        { location: "/" },
        { "retry-after": "0" },
      ] as Record<string, string>[]);
      const source = new HttpSource(url, { retryDelay: 0, readTimeout: 5, totalTimeout: 8 });
      const files = await source.list();
      for (const { fileName } of files) {
        if (!/^pubmed\d\dn\d{4,6}\.xml\.gz$/.test(fileName)) throw new TypeError(fileName);
      }
    },
  };
  return { subject, close: () => server.shutdown() };
}

/** A tokenizer.json with every byte and a few merges, small enough to be read thousands of times. */
function smallTokenizer(): string {
  const json = JSON.parse(Deno.readTextFileSync(join(ROOT, "fixtures/tokenizer.json")));
  const vocab = Object.entries(json.model.vocab as Record<string, number>);
  json.model.vocab = Object.fromEntries(vocab.filter(([, id]) => id < 290));
  const merges = json.model.merges as string[];
  json.model.merges = merges.filter((merge) => merge.replace(" ", "") in json.model.vocab);
  return JSON.stringify(json);
}

function tokenizerSubject(folder: string): Subject {
  const path = join(folder, "tokenizer.json");
  const whole = smallTokenizer();
  const pairs = JSON.parse(whole);
  pairs.model.merges = pairs.model.merges.map((merge: string) => merge.split(" "));
  pairs.normalizer = { type: "Sequence", normalizers: [{ type: "NFC" }] };
  pairs.pre_tokenizer = {
    type: "Sequence",
    pretokenizers: [{ type: "ByteLevel", add_prefix_space: false, use_regex: true }],
  };
  const samples = [whole, JSON.stringify(pairs)];
  const words = ['"merges"', '"vocab"', "null", '"added_tokens"', ":[", ":{", '"id":0', "\\ud800"];
  const text = "Aspirin 100 mg reduces\u00a0fever<|endoftext|>  \u{1F9EC}\r\n e\u0301";
  return {
    name: "tokenizer",
    share: 100,
    input: mutantsOf(samples, words),
    read(input) {
      Deno.writeFileSync(path, input);
      const tokenizer = loadTokenizer(path);
      const ids = tokenizer.encode(text);
      tokenizer.decode(ids);
      for (const id of ids) {
        if (id >= tokenizer.vocabularySize) throw new TypeError(`the id ${id} is no id`);
      }
    },
  };
}

function readTensors(source: ReturnType<typeof openTensorSource>): void {
  try {
    for (const name of source.names) {
      source.find(name);
      try {
        source.floats(name);
      } catch (error) {
        if ((error as Error).name !== "UserError") throw error;
      }
    }
  } finally {
    source.close();
  }
}

function safetensorsSubject(folder: string): Subject {
  const own = join(folder, "safetensors");
  const path = join(own, "model.safetensors");
  Deno.mkdirSync(own, { recursive: true });
  const data = (length: number) => Float32Array.from({ length }, (_, i) => i / 7);
  writeSafetensors(path, [
    { name: "a", dtype: "F32", shape: [2, 3], data: data(6) },
    { name: "b.weight", dtype: "F32", shape: [], data: data(1) },
    { name: "empty", dtype: "F32", shape: [0, 4], data: data(0) },
  ]);
  const sample = Deno.readFileSync(path);
  const length = Number(new DataView(sample.buffer).getBigUint64(0, true));
  const header = decode(sample.subarray(8, 8 + length));
  const rest = sample.subarray(8 + length);
  const words = ['"dtype"', '"BF16"', '"I64"', '"shape"', "[1e9,1e9]", '"data_offsets"', "}"];
  return {
    name: "safetensors",
    share: 80,
    input(chance) {
      if (chance.happens(0.5)) return mutate(sample, chance, words);
      // A whole file around another header.
      const other = encode(mutateJson(header, chance));
      const file = new Uint8Array(8 + other.length);
      new DataView(file.buffer).setBigUint64(0, BigInt(other.length), true);
      file.set(other, 8);
      return new Uint8Array([...file, ...rest]);
    },
    read(input) {
      Deno.writeFileSync(path, input);
      readTensors(openTensorSource(own));
    },
  };
}

function pickleSubject(folder: string): Subject {
  const path = join(folder, "pickle.bin");
  const pickler = new Pickler().op("}", "q", 0, "(");
  for (const [name, shape] of [["a", [2, 3]], ["b", [6]]] as const) {
    pickler.text(name).tensor("FloatStorage", "0", 0, [...shape], stridesOf(shape));
  }
  const sample = Uint8Array.from(pickler.op("u", ".").bytes);
  const storage = new Uint8Array(24).fill(1);
  const words = [
    "ctorch\nFloatStorage\n",
    "cos\nsystem\n",
    "(",
    "}",
    "]",
    "t",
    "R",
    "Q",
    "u",
    "h\0",
  ];
  words.push("\u0085", "l", "b", "0", "2", "X\u0004\0\0\0abcd", "K\u0001", "N", "e", "\u0094", "j");
  const codes = [
    0x80,
    0x8a,
    0x88,
    0x85,
    0x86,
    0x87,
    0x93,
    0x94,
    0x95,
    0x8c,
    0x28,
    0x29,
    0x5d,
    0x7d,
  ];
  return {
    name: "pickle",
    share: 90,
    input(chance) {
      const mutant = mutate(sample, chance, words);
      if (mutant.length > 0 && chance.happens(0.3)) {
        mutant[chance.below(mutant.length)] = chance.of(codes);
      }
      return mutant;
    },
    read(input) {
      const files = { "archive/data.pkl": input, "archive/data/0": storage };
      Deno.writeFileSync(path, zipSync(files, { level: 0 }));
      readTensors(openPytorchFile(path));
    },
  };
}

function zipSubject(folder: string): Subject {
  const own = join(folder, "zip");
  const path = join(own, "pytorch_model.bin");
  Deno.mkdirSync(own, { recursive: true });
  writePytorchModel(own);
  const whole = Deno.readFileSync(path);
  const pickler = new Pickler().op("}", "q", 0, "(").text("a");
  const pickle = pickler.tensor("FloatStorage", "0", 0, [6], [1]).op("u", ".").bytes;
  const files = {
    "archive/data.pkl": Uint8Array.from(pickle),
    "archive/data/0": new Uint8Array(24).fill(1),
  };
  const small = zipSync(files, { level: 0 });
  const samples = [small, small, small, zip64Of(small), whole];
  return {
    name: "zip",
    share: 80,
    input(chance) {
      const sample = chance.of(samples);
      if (chance.happens(0.5)) return mutate(sample, chance, ["PK\u0001\u0002", "PK\u0005\u0006"]);
      // In the directory at the end, where it matters.
      const from = Math.max(0, sample.length - 250);
      const tail = mutate(sample.slice(from), chance, ["PK\u0006\u0007", "PK\u0006\u0006"]);
      return new Uint8Array([...sample.subarray(0, from), ...tail]);
    },
    read(input) {
      Deno.writeFileSync(path, input);
      readTensors(openPytorchFile(path));
    },
  };
}

/** The archive with a zip64 end record and its locator before the end of the directory. */
function zip64Of(zip: Uint8Array): Uint8Array {
  const end = zip.length - 22;
  const view = new DataView(zip.buffer, zip.byteOffset);
  const length = view.getUint32(end + 12, true);
  const begin = view.getUint32(end + 16, true);
  const record = new DataView(new ArrayBuffer(76));
  record.setUint32(0, 0x06064b50, true);
  record.setBigUint64(4, 44n, true);
  record.setBigUint64(40, BigInt(length), true);
  record.setBigUint64(48, BigInt(begin), true);
  record.setUint32(56, 0x07064b50, true);
  record.setBigUint64(64, BigInt(end), true);
  return new Uint8Array([
    ...zip.subarray(0, end),
    ...new Uint8Array(record.buffer),
    ...zip.subarray(end),
  ]);
}

function modelConfigSubject(folder: string): Subject {
  const own = join(folder, "model");
  const path = join(own, "config.json");
  const read = initialParameters(MINIATURE, 7);
  writeModelFolder(own, { config: MINIATURE, read, tokenizer: MINIATURE_TOKENIZER });
  const theirs = { d_model: 10, n_layer: 2, vocab_size: 21, ssm_cfg: { d_state: 3, dt_rank: 2 } };
  const samples = [Deno.readTextFileSync(path), JSON.stringify(theirs)];
  const words = ["num_hidden_layers", "1e9", "null", '"hidden_size":', "[", "{", "-1", '"ssm_cfg"'];
  return {
    name: "model configuration",
    share: 50,
    input: mutantsOf(samples, words),
    read(input) {
      Deno.writeFileSync(path, input);
      openModelFolder(own).close();
    },
  };
}

function trainConfigSubject(folder: string): Subject {
  const path = join(folder, "train.jsonc");
  const recipes = recipeNames().map((name) => readConfigFile(configFile(name)));
  const samples = recipes.map((recipe) => JSON.stringify(recipe));
  samples.push(JSON.stringify({ steps: 10, batch: { rows: 3, accumulate: 2 }, seed: 1 }));
  const words = ["// x\n", "/*", "*/", ",", '"optimizer"', "null", "1e999", "[", "{", '"data":'];
  return {
    name: "training configuration",
    share: 40,
    input: (chance) =>
      chance.happens(0.6)
        ? encode(mutateJson(chance.of(samples), chance))
        : mutate(encode(chance.of(samples)), chance, words),
    read(input) {
      try {
        Deno.writeFileSync(path, input);
        resolveConfig(readConfigFile(path), path);
      } finally {
        const text = decode(input);
        const key = /"(\w+)":/.exec(text)?.[1] ?? "seed";
        try {
          parseOverride(`${key}=${text.slice(0, 200)}`);
        } catch (error) {
          // deno-lint-ignore no-unsafe-finally
          if ((error as Error).name !== "UserError") throw error;
        }
      }
    },
  };
}
