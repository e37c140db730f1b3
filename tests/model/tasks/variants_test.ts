/**
 * Released formats in the forms that they are met in: ends of lines, byte order marks, blank lines, letters
 * of another case, lists in place of lines, odd columns, nested folders. All invented.
 */
import { join } from "../../../core/std.ts";
import {
  type AnnotatedDocument,
  type LabelledText,
  type Question,
  readRecords,
  recogniseFormat,
  type TaggedTokens,
} from "../../../model/tasks/formats/mod.ts";
import { findSplits } from "../../../model/tasks/formats/splits.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { withFolder } from "../helpers.ts";
import { put } from "./helpers.ts";

const PUBTATOR = "1|t|Naloxone and fever\n1|a|Naloxone was used.\n" +
  "1\t0\t8\tNaloxone\tChemical\tD1\n1\t13\t18\tfever\tDisease\tD2\n1\tCID\tD1\tD2\n\n" +
  "2|t|Pain\n2|a|\n2\t0\t4\tPain\tDisease\t-1\n";

const BIOC = `<?xml version="1.0"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><document><id>1</id><passage><offset>0</offset><text>No fever.</text><annotation id="0">
<infon key="type">Disease</infon><location offset="3" length="5"/><text>fever</text></annotation>
</passage></document></collection>
`;

const DDI = `<?xml version="1.0"?>
<document id="D1"><sentence id="s" text="Aspirin and warfarin.">
<entity id="e0" charOffset="0-6" type="drug" text="Aspirin"/>
<entity id="e1" charOffset="12-19" type="drug" text="warfarin"/>
<pair id="p" e1="e0" e2="e1" ddi="TRUE" type="effect"/></sentence></document>
`;

const WORDS = "index\tsentence\tlabel\n0\tThe @GENE$ and @DISEASE$ here.\t1\n" +
  "1\tNo @GENE$ in @DISEASE$ at all.\t0\n";

/** A passage of BigBIO's and an entity in it. */
const KB = {
  id: "1",
  document_id: "1",
  passages: [{ id: "p", type: "title", text: ["No fever."], offsets: [[0, 9]] }],
  entities: [{ id: "e", type: "Disease", text: ["fever"], offsets: [[3, 8]], normalized: [] }],
  relations: [],
};

Deno.test("ends of lines, byte order marks and blank lines change nothing that is read", () =>
  withFolder((dir) => {
    const files: Record<string, string> = {
      "conll-bare": "Hypo\tB\ntension\tI\n.\tO\n\nA\tO\nfever\tB\n",
      conll: "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\nA DT I-NP O\n",
      bioes: "A\tO\nfever\tS-Disease\nhigh\tB-Disease\npressure\tE-Disease\n",
      pubtator: PUBTATOR,
      "bioc-xml": BIOC,
      ddi: DDI,
      "bigbio-kb": JSON.stringify(KB) + "\n" + JSON.stringify({ ...KB, document_id: "2" }) + "\n",
      table: WORDS,
    };
    for (const [name, text] of Object.entries(files)) {
      const windows = text.replaceAll("\n", "\r\n");
      const variants = [
        text,
        windows,
        "\ufeff" + windows,
        text + "\n\n",
        "\n\n" + text,
        text.trimEnd(),
      ];
      const all = variants.map((variant, i) => {
        const path = join(dir, `${name}.${i}`);
        Deno.writeTextFileSync(path, variant);
        assertEquals(recogniseFormat(path).name, name, `${name}, variant ${i}`);
        return JSON.stringify(readRecords(path).records).replaceAll(/,?"line":\d+/g, "");
      });
      assertEquals(new Set(all).size, 1, `${name}: ${[...new Set(all)].join("\n")}`);
    }
  }));

Deno.test("tags in small letters, with comments, spaces at the end of lines and underscores", () =>
  withFolder((dir) => {
    const tags = (text: string) => {
      put(dir, { "set.tsv": text });
      return (readRecords(join(dir, "set.tsv")).records as TaggedTokens[]).map((s) =>
        s.tags.join(" ")
      );
    };
    assertEquals(tags("A\to\nfever\tb-Disease\nbad\ti-Disease\n"), ["O B-Disease I-Disease"]);
    assertEquals(tags("A \tO \t\nfever\tB_Disease\t\n \t\nB\tO\n"), ["O B-Disease", "O"]);
    const comments = "# id 4d\tdomain=en\nA _ _ O\nfever _ _ B-Dis\n\n# id 5\n# _ _ O\n";
    assertEquals(tags(comments), ["O B-Dis", "O"]);
  }));

Deno.test("PubTator: documents without a blank line between them, and with one inside", () =>
  withFolder((dir) => {
    const titles = (text: string) => {
      put(dir, { "set.txt": text });
      return (readRecords(join(dir, "set.txt")).records as AnnotatedDocument[])
        .map((d) => `${d.id} ${d.mentions.length} ${d.relations.length}`);
    };
    const want = ["1 2 1", "2 1 0"];
    assertEquals(titles(PUBTATOR.replace("\n\n", "\n")), want);
    assertEquals(titles(PUBTATOR.replace("used.\n", "used.\n\n")), want);
    assertEquals(titles(PUBTATOR.replace("\tD2\n\n", "\tD2\tNovel\n\n")), want);
  }));

Deno.test("BRAT: marks and ends of lines that count or not, BioNLP's two files, what is missing", () =>
  withFolder((dir) => {
    const text = "Naloxone cures\nfever.\n";
    const at = (first: number, second: number) =>
      `T1\tChemical ${first} ${first + 8}\tNaloxone\nT2\tDisease ${second} ${second + 5}\tfever\n`;
    const relation = "R1\tTreats Arg1:T1 Arg2:T2\t\n";
    const crlf = text.replaceAll("\n", "\r\n");
    const cases: [string, string][] = [
      [crlf, at(0, 15)],
      [crlf, at(0, 16)],
      ["\ufeff" + text, at(0, 15)],
      ["\ufeff" + text, at(1, 16)],
    ];
    for (const [i, [txt, ann]] of cases.entries()) {
      put(dir, { [`${i}/a.txt`]: txt, [`${i}/a.ann`]: ann + relation });
      const [document] = readRecords(join(dir, `${i}`)).records as AnnotatedDocument[];
      const words = document?.mentions.map(({ spans: [span] }) =>
        document.text.slice(span?.start, span?.end)
      );
      assertEquals(words, ["Naloxone", "fever"]);
    }
    put(dir, {
      "nlp/a.txt": text,
      "nlp/a.a1": at(0, 15),
      "nlp/a.a2": "T3\tCure 9 14\tcures\nE1\tCure:T3 Theme:T2 Cause:T1\nM1\tNegation E1\n",
    });
    const [event] = readRecords(join(dir, "nlp")).records as AnnotatedDocument[];
    assertEquals(event?.relations.map((r) => r.type), ["Theme", "Cause"]);
    put(dir, { "0/b.ann": at(0, 15) });
    assertThrows(() => readRecords(join(dir, "0")), Error, "b.txt is not beside it");
    put(dir, { "1/a.ann": at(0, 15) + "R1\tTreats Arg1:T1 Arg2:T9\n" });
    assertThrows(() => readRecords(join(dir, "1")), Error, "a.ann, line 3: a relation names T9");
  }));

Deno.test("a folder of a file per document, folders in it, and a release in a folder of its own", () =>
  withFolder((dir) => {
    const ids = (path: string) =>
      (readRecords(join(dir, path)).records as AnnotatedDocument[]).map((d) => d.id);
    put(dir, {
      "bioc/README.md": "What this is.",
      "bioc/a.xml": BIOC,
      "bioc/b.xml": BIOC.replace("<id>1<", "<id>2<"),
      "ann/x/a.txt": "No fever.",
      "ann/x/a.ann": "T1\tDisease 3 8\tfever\n",
      "ann/y/b.txt": "No pain.",
      "ann/y/b.ann": "T1\tDisease 3 7\tpain\n",
    });
    assertEquals([ids("bioc"), ids("ann")], [["1", "2"], ["a", "b"]]);
    const split = "A\tO\nfever\tB-Disease\n";
    put(dir, {
      "release/Set/train.tsv": split,
      "release/Set/validation.tsv": split,
      "release/Set/test.tsv": split,
      "release/Set/train_dev.tsv": split,
    });
    put(dir, { "sets/One/train.tsv": split, "sets/Two/train.tsv": split });
    assertThrows(
      () => readRecords(join(dir, "sets/One")),
      Error,
      "a folder of splits, such as train",
    );
    assertThrows(() => findSplits(join(dir, "sets")), Error, "no file in it is the training split");
    assertEquals(findSplits(join(dir, "release")), {
      train: join(dir, "release/Set/train.tsv"),
      develop: join(dir, "release/Set/validation.tsv"),
      test: join(dir, "release/Set/test.tsv"),
    });
  }));

Deno.test("ChemProt: blank lines are none; the files of two splits are not taken for one", () =>
  withFolder((dir) => {
    const abstracts = "1\tNaloxone and COX\tText.\n\n";
    const entities = "1\tT1\tCHEMICAL\t0\t8\tNaloxone\n1\tT2\tGENE-Y\t13\t16\tCOX\n\n";
    const relations = "1\tCPR:4\ty \tINHIBITOR\tArg1:T1\tArg2:T2\n\n";
    put(dir, {
      "one/a.tsv": "\ufeff" + abstracts.replaceAll("\n", "\r\n"),
      "one/b.tsv": entities,
      "one/c.tsv": relations,
    });
    const [document] = readRecords(join(dir, "one")).records as AnnotatedDocument[];
    assertEquals(document?.relations.map((r) => r.type), ["CPR:4"]);
    put(dir, { "one/d.tsv": abstracts.replace("1", "2") });
    assertThrows(
      () => readRecords(join(dir, "one")),
      Error,
      "a.tsv and d.tsv have the same columns",
    );
  }));

Deno.test("JSON on one long line, lists in place of lines, and the lines that errors name", () =>
  withFolder((dir) => {
    const snippet = { text: "It is. ".repeat(60), document: "x" };
    const questions = Array.from({ length: 800 }, (_, i) => ({
      id: `q${i}`,
      type: "yesno",
      body: "Is it?",
      snippets: [snippet],
      exact_answer: ["Yes"],
    }));
    put(dir, {
      "long.json": JSON.stringify({ questions }),
      "kb.json": JSON.stringify([KB, KB], null, 1),
    });
    assertEquals(recogniseFormat(join(dir, "long.json")).name, "bioasq");
    assertEquals(readRecords(join(dir, "long.json")).records.length, 800);
    const kb = readRecords(join(dir, "kb.json"));
    assertEquals(kb.format.name, "bigbio-kb");
    assertEquals((kb.records as AnnotatedDocument[]).map((d) => d.mentions.length), [1, 1]);
    put(dir, {
      "list.json":
        '[\n {"text": "a [b\\"", "label": true},\n {"text": "c",\n  "label": false},\n {"text": "d"}\n]',
    });
    assertThrows(() => readRecords(join(dir, "list.json")), Error, 'line 5: it has no "label"');
    put(dir, { "flags.jsonl": '{"text":"a","label":true}\n{"text":"c","label":false}\n' });
    const flags = readRecords(join(dir, "flags.jsonl")).records as LabelledText[];
    assertEquals(flags.map((t) => t.labels), [["true"], ["false"]]);
    Deno.writeFileSync(join(dir, "packed.tsv"), Uint8Array.of(0x1f, 0x8b, 8, 0));
    assertThrows(() => readRecords(join(dir, "packed.tsv"), "table"), Error, "packed by gzip");
  }));

Deno.test("tables: other names of columns, an id of letters, the label first, whole numbers", () =>
  withFolder((dir) => {
    const texts = (text: string, name = "set.tsv") => {
      put(dir, { [name]: text });
      return (readRecords(join(dir, name)).records as LabelledText[])
        .map(({ id, text, pair, labels, score }) => [id, text, pair, score ?? labels.join("|")]);
    };
    assertEquals(
      texts("PMID\tsentence_a\tsentence_b\tgold_relation\n7\tOne text.\tOther one.\tyes\n"),
      [
        ["7", "One text.", "Other one.", "yes"],
      ],
    );
    assertEquals(texts("d1_s2\tThe gene is here.\tCPR:3\nd1_s3\tNo gene is here.\tfalse\n"), [
      ["d1_s2", "The gene is here.", undefined, "CPR:3"],
      ["d1_s3", "No gene is here.", undefined, "false"],
    ]);
    assertEquals(texts("1\tThe gene is here.\n0\tNo gene is here.\n1\tOne gene more here.\n")[1], [
      "1",
      "No gene is here.",
      undefined,
      "0",
    ]);
    const pairs = (...labels: string[]) =>
      texts(
        labels.map((label, i) =>
          JSON.stringify({ id: `${i}`, text_1: "a", text_2: "b", label }) + "\n"
        )
          .join(""),
        "set.jsonl",
      ).map((row) => row[3]);
    assertEquals(pairs("1", "0"), ["1", "0"]);
    assertEquals(pairs("1.0", "0.5"), [1, 0.5]);
  }));

Deno.test("questions: answers by number or small letters, headings, the hub's lines", () =>
  withFolder((dir) => {
    const answers = (text: string, name = "set.jsonl") => {
      put(dir, { [name]: text });
      const { format, records } = readRecords(join(dir, name));
      return [format.name, ...(records as Question[]).map(({ answer }) => JSON.stringify(answer))];
    };
    const right = '{"type":"choice","index":1}';
    const line = (value: unknown) =>
      JSON.stringify({ question: "Which?", ...value as object }) + "\n";
    assertEquals(answers(line({ options: ["x", "y"], answer_idx: 1 })), ["medqa", right]);
    assertEquals(answers(line({ options: { a: "x", b: "y" }, answer_idx: "B" })), ["medqa", right]);
    assertEquals(answers(line({ choices: ["x", "y"], subject: "anatomy", answer: 1 })), [
      "medqa",
      right,
    ]);
    assertEquals(answers(`[${line({ options: { A: "x", B: "y" }, answer: "y" })}]`), [
      "medqa",
      right,
    ]);
    assertEquals(answers('question,A,B,C,D,answer\n"Which, now?",1,2,3,4,b\n', "set.csv"), [
      "mmlu",
      right,
    ]);
    const hub = { pubid: 7, context: { contexts: ["c"] }, long_answer: "", final_decision: "Yes" };
    assertEquals(answers(line(hub)), ["pubmedqa", '{"type":"yesno","value":"yes"}']);
  }));

Deno.test("NLI4CT: a section's letters may differ; one that a trial lacks is named", () =>
  withFolder((dir) => {
    const statement = (section: string) =>
      JSON.stringify({
        u: { Section_id: section, Primary_id: "NCT1", Statement: "It works.", Label: "Entailment" },
      });
    put(dir, {
      "sets/train.json": statement("adverse events"),
      "sets/other.json": statement("Results"),
      "trials/CT json/NCT1.json": JSON.stringify({ "Adverse Events": ["None at all"] }),
    });
    const [text] = readRecords(join(dir, "sets/train.json")).records as LabelledText[];
    assert(text?.text === "None at all");
    assertThrows(() => readRecords(join(dir, "sets/other.json")), Error, 'section "Results"');
  }));
