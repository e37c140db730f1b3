import { join } from "../../../core/std.ts";
import { convert } from "../../../model/tasks/formats/convert.ts";
import { toBioes, toIob2 } from "../../../model/tasks/formats/conll.ts";
import {
  type AnnotatedDocument,
  formatNamed,
  FORMATS,
  type LabelledText,
  type Question,
  readRecords,
  recogniseFormat,
  type TaggedTokens,
  type TaskRecord,
} from "../../../model/tasks/formats/mod.ts";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "../../assert.ts";
import { put } from "./helpers.ts";
import { SHARED, sharedTest } from "../../shared.ts";

/** Runs with a folder of its own. */
function inFolder(run: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync();
  try {
    run(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

// The first letter lies beyond U+FFFF, so that characters and UTF-16 units differ after it.
const TITLE = "𝛂-Flumazol and fever.";
const ABSTRACT = "Flumazol lowers fever. It does not touch gastric pain.";

/** A document with two drugs, two diseases and a relation, as each format should give it. */
const DOCUMENT: AnnotatedDocument = {
  kind: "document",
  id: "101",
  text: `${TITLE} ${ABSTRACT}`,
  passages: [
    { type: "title", start: 0, end: TITLE.length },
    { type: "abstract", start: TITLE.length + 1, end: TITLE.length + 1 + ABSTRACT.length },
  ],
  mentions: [],
  relations: [],
};
const WORDS = [["Flumazol", "Chemical", "D001"], ["fever", "Disease", "D002"]] as const;
let from = TITLE.length;
for (const [i, [word, type, identifier]] of WORDS.entries()) {
  const start = DOCUMENT.text.indexOf(word, from);
  from = start;
  DOCUMENT.mentions.push({
    id: `T${i + 1}`,
    type,
    spans: [{ start, end: start + word.length }],
    text: word,
    identifiers: [identifier],
  });
}
DOCUMENT.relations.push({
  type: "CID",
  level: "mention",
  arguments: [{ role: "Arg1", entity: "T1" }, { role: "Arg2", entity: "T2" }],
});

const essence = (document: AnnotatedDocument) => ({
  id: document.id,
  text: document.text,
  mentions: document.mentions.map(({ type, spans, text }) => ({ type, spans, text })),
  relations: document.relations.map((r) => r.type),
});

for (const name of ["pubtator", "brat", "bioc-xml", "bioc-json", "bigbio-kb", "chemprot"]) {
  Deno.test(`${name}: a document is written, found again by looking, and read the same`, () => {
    inFolder((folder) => {
      const format = formatNamed(name);
      const path = join(folder, `a set of ${name}`);
      format.write?.([DOCUMENT], path);
      assertEquals(recogniseFormat(path).name, name);
      const { records } = readRecords(path);
      assertEquals((records as AnnotatedDocument[]).map(essence), [essence(DOCUMENT)]);
      // What a format can say of identifiers comes back too.
      const [read] = records as AnnotatedDocument[];
      const identifiers = read?.mentions.flatMap((m) => m.identifiers);
      assertEquals(identifiers, name === "chemprot" ? [] : ["D001", "D002"]);
    });
  });
}

Deno.test("PubTator: offsets that do not fit their words are refused with file and line", () => {
  inFolder((folder) => {
    const path = join(folder, "set.txt");
    Deno.writeTextFileSync(path, "7|t|A title.\n7|a|Some text.\n7\t0\t5\tTitle\tDisease\tD1\n");
    assertThrows(
      () => readRecords(path),
      Error,
      `${path}, line 3: the entity "Title" is said to be`,
    );
    Deno.writeTextFileSync(path, "7|t|A title.\n7|a|Text.\n8\t2\t7\ttitle\tDisease\tD1\n");
    assertThrows(() => readRecords(path), Error, `line 3: "8" is not the document's id, 7`);
  });
});

Deno.test("BRAT: interrupted mentions, events, identifiers, and what names nothing", () => {
  inFolder((folder) => {
    put(folder, {
      "d/a.txt": "left and right\nventricles fail early",
      "d/a.ann": [
        "T1\tOrgan 0 4;15 25\tleft ventricles",
        "T2\tProcess 26 30\tfail",
        "E1\tProcess:T2 Theme:T1",
        "N1\tReference T1 FMA:7101\tleft ventricle",
        "#1\tAnnotatorNotes T1\tlooked at twice",
      ].join("\n"),
    });
    const path = join(folder, "d");
    const [document] = readRecords(path).records as AnnotatedDocument[];
    assertEquals(document?.mentions[0]?.spans, [{ start: 0, end: 4 }, { start: 15, end: 25 }]);
    assertEquals(document?.mentions[0]?.identifiers, ["FMA:7101"]);
    assertEquals(document?.relations, [{
      type: "Theme",
      level: "mention",
      arguments: [{ role: "Trigger", entity: "T2" }, { role: "Theme", entity: "T1" }],
    }]);
    put(folder, { "d/a.ann": "T1\tOrgan 0 4\tleft\nR1\tPart Arg1:T1 Arg2:T9\n" });
    assertThrows(() => readRecords(path), Error, "names T9, which is no mention");
  });
});

Deno.test("BioC: relations of the whole document without nodes, as BC5CDR has them", () => {
  inFolder((folder) => {
    const path = join(folder, "set.xml");
    Deno.writeTextFileSync(
      path,
      `<?xml version="1.0"?><!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>x</source><date></date><key></key><document><id>9</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Pain &amp; zeratin.</text>
<annotation id="0"><infon key="type">Disease</infon><infon key="MESH">D010146</infon>
<location offset="0" length="4"/><text>Pain</text></annotation></passage>
<relation id="R0"><infon key="relation">CID</infon><infon key="Chemical">C9</infon>
<infon key="Disease">D010146</infon></relation></document></collection>`,
    );
    const { format, records } = readRecords(path);
    assertEquals(format.name, "bioc-xml");
    const [document] = records as AnnotatedDocument[];
    assertEquals(document?.text, "Pain & zeratin.");
    assertEquals(document?.mentions[0]?.identifiers, ["D010146"]);
    assertEquals(document?.relations, [{
      type: "CID",
      level: "document",
      arguments: [{ role: "Chemical", entity: "C9" }, { role: "Disease", entity: "D010146" }],
    }]);
    Deno.writeTextFileSync(path, "<collection><document><id>1</id></collection>");
    assertThrows(() => readRecords(path), Error, "it is not well-formed XML");
  });
});

Deno.test("ChemProt as released: which file is which is seen from its columns", () => {
  inFolder((folder) => {
    put(folder, {
      "one.tsv": "5\tZeratin and ABL.\tZeratin inhibits ABL.\n",
      "two.tsv": "5\tT1\tCHEMICAL\t17\t24\tZeratin\n5\tT2\tGENE-Y\t34\t37\tABL\n",
      "three.tsv": "5\tCPR:4\tY \tINHIBITOR\tArg1:T1\tArg2:T2\n" +
        "5\tCPR:1\tN\tPART-OF\tArg1:T1\tArg2:T2\n",
    });
    const { format, records } = readRecords(folder);
    assertEquals(format.name, "chemprot");
    const [document] = records as AnnotatedDocument[];
    assertEquals(document?.relations.map((r) => r.type), ["CPR:4", "not evaluated"]);
    put(folder, { "three.tsv": "5\tCPR:4\tY \tINHIBITOR\tArg1:T1\tArg2:T7\n" });
    assertThrows(() => readRecords(folder), Error, "line 1: the relation names T7");
  });
});

Deno.test("DDI: the last character of an entity counts, pairs that do not interact are kept", () => {
  inFolder((folder) => {
    put(folder, {
      "a.xml": `<document id="D"><sentence id="s0" text="Zeratin raises flumazol levels.">
<entity id="e0" charOffset="0-6" type="drug" text="Zeratin"/>
<entity id="e1" charOffset="15-22" type="drug" text="flumazol"/>
<pair id="p0" e1="e0" e2="e1" ddi="true" type="mechanism"/></sentence>
<sentence id="s1" text="Both are safe with tea."><entity id="e2" charOffset="19-21" type="group" text="tea"/>
<pair id="p1" e1="e0" e2="e2" ddi="false"/></sentence></document>`,
    });
    const { format, records } = readRecords(folder);
    assertEquals(format.name, "ddi");
    const [document] = records as AnnotatedDocument[];
    assertEquals(document?.mentions.map((m) => m.text), ["Zeratin", "flumazol", "tea"]);
    assertEquals(document?.relations.map((r) => r.type), ["mechanism"]);
    assertEquals(document?.unrelated?.length, 1);
  });
});

const SENTENCES: TaggedTokens[] = [
  {
    kind: "sentence",
    tokens: ["Gastric", "pain", "and", "fever"],
    tags: ["B-Disease", "I-Disease", "O", "B-Disease"],
    line: 1,
  },
  { kind: "sentence", tokens: ["None", "here"], tags: ["O", "O"], line: 6 },
];

Deno.test("tagged tokens: IOB2, bare tags and BIOES are told apart and read alike", () => {
  inFolder((folder) => {
    for (const name of ["conll", "conll-bare", "bioes"]) {
      const path = join(folder, `${name}.anything`);
      formatNamed(name).write?.(SENTENCES, path);
      const { format, records } = readRecords(path);
      assertEquals(format.name, name);
      const type = name === "conll-bare" ? "Entity" : "Disease";
      assertEquals(
        (records as TaggedTokens[]).map((s) => s.tags),
        SENTENCES.map((s) => s.tags.map((tag) => tag.replace("Disease", type))),
      );
    }
    const path = join(folder, "four.txt");
    Deno.writeTextFileSync(
      path,
      "-DOCSTART- (55)\n\nFever NN I-NP I-Disease\nis VBZ I-VP O\n\n###56\npain NN I-NP B-Disease\n",
    );
    const read = readRecords(path).records as TaggedTokens[];
    // IOB1: an I that continues nothing begins an entity.
    assertEquals(read.map((s) => [s.document, s.tags]), [["55", ["B-Disease", "O"]], [
      "56",
      ["B-Disease"],
    ]]);
    Deno.writeTextFileSync(path, "Fever\tO\nis\tQ\n");
    assertThrows(
      () => readRecords(path, "conll"),
      Error,
      `${path}, line 2: "is\tQ" is not a token`,
    );
  });
  assertEquals(toIob2(["S-X", "B-X", "E-X", "L-X", "O", "U-Y"]), [
    "B-X",
    "B-X",
    "I-X",
    "B-X",
    "O",
    "B-Y",
  ]);
  assertEquals(toBioes(["B-X", "I-X", "B-X", "O", "B-Y"]), ["B-X", "E-X", "S-X", "O", "S-Y"]);
});

Deno.test("texts with labels: BioBERT's folders, HoC's numbered labels, BIOSSES' scores, headers", () => {
  inFolder((folder) => {
    put(folder, {
      "train.tsv": "Loss of @GENE$ leads to @DISEASE$.\t1\nNo link of @GENE$ with @DISEASE$.\t0\n",
      "test.tsv": "index\tsentence\tlabel\n0\tA @GENE$ in @DISEASE$.\t1\n",
      "hoc.tsv": "labels\tsentence\tindex\n0_0,1_1,2_1\tCells evade growth control.\t17\n",
      "biosses.csv":
        'sentence1,sentence2,score\n"One, two.",Three.,3.6\n"He said ""no"".",Four.,0\n',
      "scibert.jsonl": '{"text": "<< a >> binds [[ b ]].", "label": "BINDER", "metadata": []}\n',
      "many.jsonl": '{"text": "t one two", "labels": ["x", "y"]}\n{"text": "u v", "labels": []}\n',
    });
    const read = (name: string) => readRecords(join(folder, name)).records as LabelledText[];
    assertEquals(read("train.tsv").map((r) => r.labels), [["1"], ["0"]]);
    assertEquals(read("test.tsv").map((r) => [r.id, r.text, r.labels]), [[
      "0",
      "A @GENE$ in @DISEASE$.",
      ["1"],
    ]]);
    assertEquals(read("hoc.tsv").map((r) => [r.id, r.labels]), [["17", ["1", "2"]]]);
    assertEquals(read("biosses.csv").map((r) => [r.text, r.pair, r.score, r.labels]), [
      ["One, two.", "Three.", 3.6, []],
      ['He said "no".', "Four.", 0, []],
    ]);
    assertEquals(read("scibert.jsonl").map((r) => r.labels), [["BINDER"]]);
    assertEquals(read("many.jsonl").map((r) => r.labels), [["x", "y"], []]);
    Deno.writeTextFileSync(
      join(folder, "bad.jsonl"),
      '{"text": "a b", "label": "x"}\n{"label": "y"}\n',
    );
    assertThrows(
      () => readRecords(join(folder, "bad.jsonl"), "jsonl"),
      Error,
      "line 2: it has no text",
    );
  });
});

Deno.test("NLI4CT: statements with the trials beside them; HoC's own folders", () => {
  inFolder((folder) => {
    put(folder, {
      "dev.json": JSON.stringify({
        "u-1": {
          Type: "Comparison",
          Section_id: "Results",
          Primary_id: "NCT1",
          Secondary_id: "NCT2",
          Statement: "The first did better.",
          Label: "Entailment",
        },
      }),
      "CT json/NCT1.json": JSON.stringify({ Results: ["Outcome 1: ", "  70 %"] }),
      "CT json/NCT2.json": JSON.stringify({ Results: ["20 %"] }),
      "hoc/text/1.txt": "Cells divide.\nNothing else.\n",
      "hoc/labels/1.txt": " < Evading growth suppressors--X AND Genomic instability < NULL ",
    });
    const [nli] = readRecords(join(folder, "dev.json")).records as LabelledText[];
    assertEquals(nli, {
      kind: "text",
      id: "u-1",
      text: "Primary trial:\nOutcome 1:\n70 %\n\nSecondary trial:\n20 %",
      pair: "The first did better.",
      labels: ["Entailment"],
    });
    Deno.removeSync(join(folder, "CT json/NCT2.json"));
    assertThrows(() => readRecords(join(folder, "dev.json")), Error, "NCT2.json");
    const hoc = readRecords(join(folder, "hoc"));
    assertEquals(hoc.format.name, "hoc");
    assertEquals((hoc.records as LabelledText[]).map((r) => r.labels), [
      ["Evading growth suppressors", "Genomic instability"],
      [],
    ]);
  });
});

const QUESTIONS: Record<string, { text: string; answers: Question["answer"][] }> = {
  bioasq: {
    text: JSON.stringify({
      questions: [
        {
          id: "a",
          type: "yesno",
          body: "Is it?",
          exact_answer: "Yes",
          snippets: [{ text: "So." }],
        },
        { id: "b", type: "factoid", body: "Which?", exact_answer: ["ABL", "Abl1"] },
        { id: "c", type: "list", body: "What?", exact_answer: [["x", "X"], ["y"]] },
        { id: "d", type: "summary", body: "Why?", ideal_answer: "Because." },
      ],
    }),
    answers: [
      { type: "yesno", value: "yes" },
      { type: "factoid", synonyms: [["ABL", "Abl1"]] },
      { type: "list", items: [["x", "X"], ["y"]] },
      { type: "summary" },
    ],
  },
  squad: {
    text: JSON.stringify({
      version: "BioASQ",
      data: [{
        title: "t",
        paragraphs: [
          {
            context: "ABL it is.",
            qas: [{ id: "q_001", question: "Which?", answers: [{ text: "ABL", answer_start: 0 }] }],
          },
          {
            context: "Or Abl1.",
            qas: [{
              id: "q_002",
              question: "Which?",
              answers: [{ text: "Abl1", answer_start: 3 }],
            }],
          },
        ],
      }],
    }),
    answers: [{ type: "factoid", synonyms: [["ABL", "Abl1"]] }],
  },
  pubmedqa: {
    text: JSON.stringify({
      77: { QUESTION: "Is it?", CONTEXTS: ["So."], final_decision: "maybe" },
    }),
    answers: [{ type: "yesno", value: "maybe" }],
  },
  medqa: {
    text: JSON.stringify({
      question: "Q?",
      answer: "two",
      options: { A: "one", B: "two" },
      answer_idx: "B",
    }) + "\n",
    answers: [{ type: "choice", index: 1 }],
  },
  medmcqa: {
    text: [1, 4].map((cop) =>
      JSON.stringify({ id: cop, question: "Q?", opa: "a", opb: "b", opc: "c", opd: "d", cop }) +
      "\n"
    ).join(""),
    answers: [{ type: "choice", index: 0 }, { type: "choice", index: 3 }],
  },
  mmlu: {
    text:
      '"Which, then?",one,two,three,"four, or ""4""",D\nAnd this?,a,b,c,d,A\nOne more?,a,b,c,d,C\n',
    answers: [{ type: "choice", index: 3 }, { type: "choice", index: 0 }, {
      type: "choice",
      index: 2,
    }],
  },
  "bigbio-qa": {
    text: JSON.stringify({
      id: "1",
      question: "Q?",
      type: "multiple_choice",
      choices: ["a", "b"],
      answer: ["b"],
      context: "",
    }) + "\n",
    answers: [{ type: "choice", index: 1 }],
  },
};

for (const [name, { text, answers }] of Object.entries(QUESTIONS)) {
  Deno.test(`${name}: questions are found by looking and read with their answers`, () => {
    inFolder((folder) => {
      const path = join(folder, "file");
      Deno.writeTextFileSync(path, text);
      const { format, records } = readRecords(path);
      assertEquals(format.name, name);
      assertEquals((records as Question[]).map((q) => q.answer), answers);
      if (!format.write) return;
      const again = join(folder, "again");
      format.write(records as never, again);
      assertEquals((readRecords(again, name).records as Question[]).map((q) => q.answer), answers);
    });
  });
}

Deno.test("MedMCQA: answers counted from 0, as the hub has them, are seen from the whole file", () => {
  inFolder((folder) => {
    const path = join(folder, "file");
    const row = (cop: number) =>
      JSON.stringify({ question: "Q?", opa: "a", opb: "b", opc: "c", opd: "d", cop }) + "\n";
    Deno.writeTextFileSync(path, row(0) + row(3) + row(-1));
    const answers = (readRecords(path).records as Question[]).map((q) => q.answer);
    assertEquals(answers, [{ type: "choice", index: 0 }, { type: "choice", index: 3 }, {
      type: "unknown",
    }]);
  });
});

Deno.test("convert: documents to tags, to marked pairs, and back; what is lost is told", () => {
  inFolder((folder) => {
    const input = join(folder, "set.txt");
    const overlapping = structuredClone(DOCUMENT);
    const fever = overlapping.text.indexOf("lowers fever");
    overlapping.mentions.push({
      id: "T3",
      type: "Process",
      spans: [{ start: fever, end: fever + "lowers fever".length }],
      text: "lowers fever",
      identifiers: [],
    });
    formatNamed("bigbio-kb").write?.([overlapping], input);
    const tags = convert({ input, out: join(folder, "tags"), to: "conll" });
    assertEquals([tags.read, tags.written, tags.losses.length], [1, 3, 2]);
    const sentences = readRecords(join(folder, "tags")).records as TaggedTokens[];
    assertEquals(sentences[1], {
      kind: "sentence",
      tokens: ["Flumazol", "lowers", "fever", "."],
      tags: ["B-Chemical", "B-Process", "I-Process", "O"],
      line: sentences[1]?.line ?? 0,
      document: "101",
    });
    convert({ input: join(folder, "tags"), out: join(folder, "back"), to: "pubtator" });
    const [back] = readRecords(join(folder, "back")).records as AnnotatedDocument[];
    assertEquals(back?.mentions.map((m) => m.text), ["Flumazol", "lowers fever"]);
    const pairs = convert({ input, out: join(folder, "pairs"), to: "jsonl" });
    assertEquals([pairs.written, pairs.losses], [1, []]);
    assertEquals(
      (readRecords(join(folder, "pairs")).records as LabelledText[]).map((r) => [r.text, r.labels]),
      [["<< Flumazol >> lowers [[ fever ]].", ["CID"]]],
    );
    assertThrows(
      () => convert({ input, out: join(folder, "q"), to: "squad" }),
      Error,
      "it holds annotated documents, and the format asked for holds questions",
    );
    assertThrows(() => convert({ input, out: input, to: "conll" }), Error, "it is there already");
    assertThrows(() => convert({ input, out: "x", to: "mmlu" }), Error, "it is only read");
  });
});

Deno.test("what no format knows is refused with their names; every format has a name of its own", () => {
  inFolder((folder) => {
    const path = join(folder, "file");
    Deno.writeTextFileSync(path, "just some words\nand more of them\n");
    assertThrows(() => recogniseFormat(path), Error, "Cannot tell what format");
    assertThrows(() => recogniseFormat(join(folder, "none")), Error, "there is no such file");
    assertThrows(() => readRecords(path, "word"), Error, "choose one of conll");
  });
  const names = FORMATS.map((f) => f.name);
  assertEquals(new Set(names).size, names.length);
  for (const format of FORMATS) assert(format.title.length > 10);
});

const SETS: Record<string, { format: string; records: number }> = {
  "ner/BC5CDR-IOB/test.tsv": { format: "conll", records: 4797 },
  "ner/NCBI-disease-IOB/test.tsv": { format: "conll", records: 940 },
  "re/chemprot/test.jsonl": { format: "jsonl", records: 3469 },
  "re/bc5cdr-pubtator/CDR_sample.txt": { format: "pubtator", records: 50 },
  "bioasq-parity/gold.json": { format: "bioasq", records: 11 },
  "pubmedqa/ori_pqal.json": { format: "pubmedqa", records: 1000 },
};

sharedTest(
  "data/eval",
  "released sets are recognised, and survive every format of their kind",
  () => {
    const loose = (record: TaskRecord): unknown =>
      record.kind === "sentence" ? [record.tokens, record.tags] : record.kind === "document"
        ? [
          record.id,
          record.text,
          record.mentions.map((m) => JSON.stringify([m.spans, m.type])).sort(),
        ]
        : record.kind === "text"
        ? [record.text, record.labels]
        : [record.id, record.question, record.answer.type];
    inFolder((folder) => {
      for (const [path, expected] of Object.entries(SETS)) {
        const { format, records } = readRecords(join(SHARED, "data/eval", path));
        assertEquals([format.name, records.length], [expected.format, expected.records], path);
        const some = records.slice(0, 60);
        for (const other of FORMATS) {
          if (other.kind !== format.kind || !other.write) continue;
          // Bare tags have no types; some formats know only one kind of question.
          if (
            other.name === "conll-bare" || other.kind === "question" || other.name === "bigbio-text"
          ) {
            continue;
          }
          const out = join(folder, `${format.name}-${other.name}-${expected.records}`);
          other.write(some as never, out);
          const again = other.read(out);
          // A folder's documents come in the order of their names.
          const sorted = (list: TaskRecord[]) => list.map((r) => JSON.stringify(loose(r))).sort();
          assertEquals(sorted(again), sorted(some), `${path} as ${other.name}`);
        }
      }
    });
  },
);

Deno.test("the error of a file that is not UTF-8 says so", () => {
  inFolder((folder) => {
    const path = join(folder, "latin.tsv");
    Deno.writeFileSync(path, Uint8Array.of(0x66, 0xe9, 9, 79, 10));
    try {
      readRecords(path, "conll");
      throw new Error("it was read");
    } catch (error) {
      assertStringIncludes(String(error), "it is not UTF-8");
    }
  });
});
